// Small pieces of the page: elements, and buttons with an icon.

const ICONS = { // 24 x 24, stroked
  play: "<path d='M8 5l11 7-11 7z'/>",
  pause: "<path d='M8.5 5v14M15.5 5v14'/>",
  recentre: "<circle cx='12' cy='12' r='3'/><path d='M12 3v4M12 17v4M3 12h4M17 12h4'/>",
  orbit: "<circle cx='12' cy='12' r='2.5'/><ellipse cx='12' cy='12' rx='9' ry='4' transform='rotate(-25 12 12)'/>",
  cameras: "<path d='M4 12L13 5v14zM13 5l7 2v10l-7 2'/>",
  keys: "<path d='M12 4l6 8-6 8-6-8z'/><path d='M12 9.5v5M9.5 12h5'/>",
  settings: "<path d='M4 8h9M17 8h3M4 16h3M11 16h9'/><circle cx='15' cy='8' r='2'/><circle cx='9' cy='16' r='2'/>",
  copy: "<rect x='8' y='8' width='11' height='11' rx='2'/><path d='M5 15V7a2 2 0 0 1 2-2h8'/>",
  remote: "<rect x='6' y='6' width='12' height='12' rx='2'/><path d='M9 3v3M15 3v3M9 18v3M15 18v3M3 9h3M3 15h3M18 9h3M18 15h3'/>",
  fullscreen: "<path d='M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5'/>",
  help: "<path d='M9 9a3 3 0 1 1 4.5 2.6c-1 .6-1.5 1.2-1.5 2.4'/><path d='M12 17.5v.1'/>",
  up: "<path d='M6 14l6-6 6 6'/>",
  down: "<path d='M6 10l6 6 6-6'/>",
  remove: "<path d='M7 7l10 10M17 7L7 17'/>",
};

// Whether fingers do what elsewhere keys and a mouse do.
export const byTouch = () => window.matchMedia("(pointer: coarse)").matches;

export function element(parent, tag, className, properties = {}) {
  return parent.appendChild(Object.assign(document.createElement(tag), { className, ...properties }));
}

export const icon = (name) => `<svg viewBox="0 0 24 24" aria-hidden="true">${ICONS[name]}</svg>`;

export function iconButton(parent, name, label, run) {
  const button = element(parent, "button", "os-icon", { type: "button", title: label });
  button.setAttribute("aria-label", label);
  button.setIcon = (other) => { button.innerHTML = icon(other); };
  button.setIcon(name);
  button.addEventListener("click", run);
  return button;
}
