// WebGL2 programs.

const POLL_MS = 5;

// Resolves to a linked program. Where the browser compiles beside the page, the page goes on meanwhile. The shaders are
// not asked how they fare unless the program fails: each question to the graphics card blocks the page until it answers.
export async function compile(gl, vertex, fragment) {
  const program = gl.createProgram(), parallel = gl.getExtension("KHR_parallel_shader_compile");
  const shaders = [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]].map(([kind, source]) => {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
    return shader;
  });
  gl.linkProgram(program);
  const compiling = () => parallel && !gl.isContextLost() && !gl.getProgramParameter(program, parallel.COMPLETION_STATUS_KHR);
  while (compiling()) await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  if (!gl.getProgramParameter(program, gl.LINK_STATUS) && !gl.isContextLost()) {
    throw new Error([...shaders.map((shader) => gl.getShaderInfoLog(shader)), gl.getProgramInfoLog(program)].join("\n"));
  }
  return program;
}

// Where the named uniforms of a program are.
export function uniformsOf(gl, program, names) {
  return Object.fromEntries(names.map((name) => [name, gl.getUniformLocation(program, name)]));
}
