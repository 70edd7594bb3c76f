// The algorithm of onescene/splatting/numba_*.py in plain C++, to know what a compiler makes of it: the measure of the
// Numba kernels' speed. Project and cull, sort by depth, list per tile of 16x16 pixels, blend front to back; the
// gradient walks front to back too and leaves one row per (ellipse, tile) pair, which its Gaussian adds up.
//
//   g++ -O3 -march=native -ffast-math -std=c++17 -shared -fPIC -pthread splatting_peer.cpp
//
// A row of a tile is one vector of 16 floats (GCC's vector extension: one AVX-512 register, two of AVX2). The camera is
// the flat array of numba_layout.py.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

namespace {

constexpr int TILE = 16, SHARE = 8192;
constexpr float BLUR = 0.3f, ALPHA_MIN = 1.f / 255, ALPHA_MAX = 0.999f, LIGHT_MIN = 1e-4f, REACH = 3.33f;
enum { TRANSLATION = 9, FOCAL = 12, CENTRE = 14, SIZE = 16, RANGE = 18, TAN_LOW = 20, TAN_HIGH = 22, ORIGIN = 24 };

typedef float row_t __attribute__((vector_size(64)));
typedef int32_t mask_t __attribute__((vector_size(64)));

struct Record {  // the ellipse of one Gaussian in view
    float x, y, xx, xy, yy, opacity, rgb[3], depth, limit, half_y;
};
struct Scene {
    int64_t n, coefficients;
    const float *means, *quats, *scales, *opacities, *sh;
};
struct Pair {
    float sums[10];
};
struct View {  // what the forward pass leaves for the backward pass
    Scene scene;
    float camera[27];
    int width, height, tiles_x, tiles_y;
    std::unique_ptr<Record[]> records;
    std::unique_ptr<int32_t[]> boxes, ids;  // boxes: left, top, right, bottom
    std::vector<int32_t> counts, order, lists;
    std::vector<int64_t> offsets;
};

void run_shares(int threads, int shares, const std::function<void(int)> &task) {
    std::atomic<int> next{0};
    auto work = [&] {
        for (int share; (share = next++) < shares;) task(share);
    };
    std::vector<std::thread> helpers;
    for (int i = 1; i < std::min(threads, shares); i++) helpers.emplace_back(work);
    work();
    for (auto &helper : helpers) helper.join();
}

row_t spread(float v) { return row_t{} + v; }
row_t pick(mask_t mask, row_t a, row_t b) { return mask ? a : b; }
row_t low(row_t a, row_t b) { return a < b ? a : b; }
float total(row_t v) {
    float sum = 0;
    for (int i = 0; i < TILE; i++) sum += v[i];
    return sum;
}

// exp(-s) for 0 <= s <= ln 255: a polynomial of exp(-s / 8), squared three times
row_t falloff(row_t s) {
    row_t t = s * 0.125f;
    row_t e = 0.999999998f + t * (-0.999999757f + t * (0.499994585f + t * (-0.166621101f +
              t * (0.0414827449f + t * (-0.00794695658f + t * 0.000972926401f)))));
    e = e * e;
    e = e * e;
    return e * e;
}

void rotation(const float *q, float *r) {
    float scale = 1 / std::max(std::sqrt(q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3]), 1e-12f);
    float w = q[0] * scale, x = q[1] * scale, y = q[2] * scale, z = q[3] * scale;
    r[0] = 1 - 2 * (y * y + z * z), r[1] = 2 * (x * y - w * z), r[2] = 2 * (x * z + w * y);
    r[3] = 2 * (x * y + w * z), r[4] = 1 - 2 * (x * x + z * z), r[5] = 2 * (y * z - w * x);
    r[6] = 2 * (x * z - w * y), r[7] = 2 * (y * z + w * x), r[8] = 1 - 2 * (x * x + y * y);
}

void jacobian_rows(const float *cam, const float *p, float *u, float *v) {
    float fx = cam[FOCAL] / p[2], fy = cam[FOCAL + 1] / p[2];
    float gx = -fx * std::clamp(p[0] / p[2], cam[TAN_LOW], cam[TAN_HIGH]);
    float gy = -fy * std::clamp(p[1] / p[2], cam[TAN_LOW + 1], cam[TAN_HIGH + 1]);
    for (int c = 0; c < 3; c++) u[c] = fx * cam[c] + gx * cam[6 + c], v[c] = fy * cam[3 + c] + gy * cam[6 + c];
}

void to_camera(const float *cam, const float *m, float *p) {
    for (int r = 0; r < 3; r++)
        p[r] = cam[3 * r] * m[0] + cam[3 * r + 1] * m[1] + cam[3 * r + 2] * m[2] + cam[TRANSLATION + r];
}

// Degree 0 only is measured: the colour does not depend on the direction.
bool project_one(const View &view, int64_t i, Record &out, int32_t *box) {
    const Scene &s = view.scene;
    const float *cam = view.camera;
    float p[3], opacity = s.opacities[i];
    to_camera(cam, s.means + 3 * i, p);
    if (p[2] < cam[RANGE] || p[2] > cam[RANGE + 1] || opacity < ALPHA_MIN) return false;
    float inverse = 1 / p[2], width = cam[SIZE], height = cam[SIZE + 1];
    float x = cam[FOCAL] * p[0] * inverse + cam[CENTRE], y = cam[FOCAL + 1] * p[1] * inverse + cam[CENTRE + 1];
    const float *scale = s.scales + 3 * i;
    float largest = std::max({std::abs(scale[0]), std::abs(scale[1]), std::abs(scale[2])});
    float tx = std::clamp(p[0] * inverse, cam[TAN_LOW], cam[TAN_HIGH]), sx = cam[FOCAL] * inverse * largest;
    float ty = std::clamp(p[1] * inverse, cam[TAN_LOW + 1], cam[TAN_HIGH + 1]), sy = cam[FOCAL + 1] * inverse * largest;
    float reach_x = REACH * std::sqrt(sx * sx * (1 + tx * tx) + BLUR) + 1;
    float reach_y = REACH * std::sqrt(sy * sy * (1 + ty * ty) + BLUR) + 1;
    if (x + reach_x < 0 || x - reach_x > width || y + reach_y < 0 || y - reach_y > height) return false;
    float r[9], u[3], v[3], a[3], b[3];
    rotation(s.quats + 4 * i, r);
    jacobian_rows(cam, p, u, v);
    for (int c = 0; c < 3; c++) {
        a[c] = (u[0] * r[c] + u[1] * r[3 + c] + u[2] * r[6 + c]) * scale[c];
        b[c] = (v[0] * r[c] + v[1] * r[3 + c] + v[2] * r[6 + c]) * scale[c];
    }
    float xx = a[0] * a[0] + a[1] * a[1] + a[2] * a[2], yy = b[0] * b[0] + b[1] * b[1] + b[2] * b[2];
    float xy = a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
    float m0 = a[1] * b[2] - a[2] * b[1], m1 = a[2] * b[0] - a[0] * b[2], m2 = a[0] * b[1] - a[1] * b[0];
    float inverse_det = 1 / (m0 * m0 + m1 * m1 + m2 * m2 + BLUR * (xx + yy) + BLUR * BLUR);
    xx += BLUR, yy += BLUR;
    float limit = std::log(opacity / ALPHA_MIN), half_x = std::sqrt(2 * limit * xx), half_y = std::sqrt(2 * limit * yy);
    if (x + half_x <= 0 || x - half_x >= width || y + half_y <= 0 || y - half_y >= height) return false;
    out = {x, y, yy * inverse_det, -xy * inverse_det, xx * inverse_det, opacity, {}, p[2], limit, half_y};
    for (int c = 0; c < 3; c++) out.rgb[c] = std::max(0.5f + 0.28209479f * s.sh[3 * s.coefficients * i + c], 0.f);
    box[0] = int32_t(std::max(x - half_x, 0.f) / TILE), box[1] = int32_t(std::max(y - half_y, 0.f) / TILE);
    box[2] = int32_t(std::ceil(std::min(x + half_x, width) / TILE));
    box[3] = int32_t(std::ceil(std::min(y + half_y, height) / TILE));
    return true;
}

void project(View &view, int threads) {
    int64_t n = view.scene.n, shares = (n + SHARE - 1) / SHARE;
    view.records.reset(new Record[n]), view.boxes.reset(new int32_t[4 * n]), view.ids.reset(new int32_t[n]);
    view.counts.assign(shares, 0);
    run_shares(threads, int(shares), [&](int share) {
        int64_t out = int64_t(share) * SHARE, first = out, last = std::min(first + SHARE, n);
        for (int64_t i = first; i < last; i++)
            if (project_one(view, i, view.records[out], &view.boxes[4 * out])) view.ids[out++] = int32_t(i);
        view.counts[share] = int32_t(out - first);
    });
}

void sort_by_depth(View &view) {  // radix sort of the depths' bits, 11 at a time
    struct Entry {
        int32_t record;
        uint32_t key;
    };
    std::vector<Entry> entries, spare;
    std::vector<int32_t> histogram(3 * 2048, 0);
    for (size_t share = 0; share < view.counts.size(); share++)
        for (int32_t r = int32_t(share) * SHARE, end = r + view.counts[share]; r < end; r++) {
            uint32_t key;
            std::memcpy(&key, &view.records[r].depth, 4);
            entries.push_back({r, key});
            for (int digit = 0; digit < 3; digit++) histogram[2048 * digit + ((key >> 11 * digit) & 2047)]++;
        }
    spare.resize(entries.size());
    for (int digit = 0; digit < 3; digit++) {
        int32_t place = 0, *h = &histogram[2048 * digit];
        for (int v = 0; v < 2048; v++) place += h[v], h[v] = place - h[v];
        for (const Entry &e : entries) spare[h[(e.key >> 11 * digit) & 2047]++] = e;
        entries.swap(spare);
    }
    view.order.resize(entries.size());
    for (size_t j = 0; j < entries.size(); j++) view.order[j] = entries[j].record;
}

template <class F> void each_tile(const View &view, int32_t record, F f) {
    const int32_t *box = &view.boxes[4 * size_t(record)];
    for (int y = box[1]; y < box[3]; y++)
        for (int x = box[0]; x < box[2]; x++) f(y * view.tiles_x + x);
}

void list_per_tile(View &view, int threads) {
    constexpr int64_t PART = 16384;
    int64_t visible = int64_t(view.order.size()), tiles = view.tiles_x * view.tiles_y;
    int parts = int(std::max<int64_t>(1, (visible + PART - 1) / PART));
    std::vector<int64_t> places(parts * tiles, 0);
    auto walk = [&](int part, auto f) {
        for (int64_t j = part * PART; j < std::min((part + 1) * PART, visible); j++)
            each_tile(view, view.order[j], [&](int tile) { f(places[part * tiles + tile], view.order[j]); });
    };
    run_shares(threads, parts, [&](int part) { walk(part, [](int64_t &count, int32_t) { count++; }); });
    view.offsets.resize(tiles + 1);
    int64_t place = 0;
    for (int64_t tile = 0; tile < tiles; tile++) {
        view.offsets[tile] = place;
        for (int part = 0; part < parts; part++) {
            int64_t &p = places[part * tiles + tile];
            place += p, p = place - p;
        }
    }
    view.offsets[tiles] = place;
    view.lists.resize(place);
    run_shares(threads, parts, [&](int part) { walk(part, [&](int64_t &p, int32_t r) { view.lists[p++] = r; }); });
}

const row_t COLUMNS = {.5f, 1.5f, 2.5f, 3.5f, 4.5f, 5.5f, 6.5f, 7.5f, 8.5f, 9.5f, 10.5f, 11.5f, 12.5f, 13.5f, 14.5f, 15.5f};

bool dark(const row_t *light) {
    mask_t any{};
    for (int y = 0; y < TILE; y++) any |= light[y] > 0.f;
    for (int x = 0; x < TILE; x++)
        if (any[x]) return false;
    return true;
}

void rows_of(float y, float half, int &first, int &last) {
    first = int(std::clamp(std::ceil(y - half - .5f), 0.f, float(TILE)));
    last = int(std::clamp(std::floor(y + half + .5f), 0.f, float(TILE)));
}

void blend_tile(const View &view, int tile, float *image) {
    int left = tile % view.tiles_x * TILE, top = tile / view.tiles_x * TILE;
    row_t light[TILE], out[4][TILE] = {};
    for (row_t &l : light) l = spread(1);
    for (int64_t j = view.offsets[tile]; j < view.offsets[tile + 1]; j++) {
        const Record &e = view.records[view.lists[j]];
        float ey = e.y - top;
        int first, last;
        rows_of(ey, e.half_y, first, last);
        row_t dx = COLUMNS - (e.x - left), across = 0.5f * e.xx * dx * dx, mixed = e.xy * dx;
        for (int y = first; y < last; y++) {
            float dy = y + 0.5f - ey;
            row_t sigma = across + 0.5f * e.yy * dy * dy + mixed * dy;
            row_t alpha = pick(sigma <= e.limit, low(e.opacity * falloff(sigma), spread(ALPHA_MAX)), row_t{});
            row_t weight = alpha * light[y], after = light[y] - weight;
            mask_t stop = after <= LIGHT_MIN;  // a finished pixel keeps its light with a minus sign
            weight = pick(stop, row_t{}, weight);
            light[y] = pick(stop, -pick(light[y] < 0.f, -light[y], light[y]), after);
            out[0][y] += weight * e.rgb[0], out[1][y] += weight * e.rgb[1], out[2][y] += weight * e.rgb[2];
            out[3][y] += weight * e.depth;
        }
        if ((j & 15) == 15 && dark(light)) break;
    }
    for (int y = 0; y < std::min(TILE, view.height - top); y++)
        for (int x = 0; x < std::min(TILE, view.width - left); x++) {
            size_t pixel = size_t(top + y) * view.width + left + x, plane = size_t(view.height) * view.width;
            for (int c = 0; c < 4; c++) image[c * plane + pixel] = out[c][y][x];
            image[4 * plane + pixel] = 1 - std::abs(light[y][x]);
        }
}

void blend_tile_backward(const View &view, int tile, const float *image, const float *grad, const int64_t *base,
                         Pair *pairs) {
    int tile_x = tile % view.tiles_x, tile_y = tile / view.tiles_x, left = tile_x * TILE, top = tile_y * TILE;
    row_t light[TILE], rest[TILE] = {}, g[5][TILE] = {};
    for (row_t &l : light) l = spread(1);
    for (int c = 0; c < 5; c++)
        for (int y = 0; y < std::min(TILE, view.height - top); y++)
            for (int x = 0; x < std::min(TILE, view.width - left); x++) {
                size_t at = (size_t(c) * view.height + top + y) * view.width + left + x;
                g[c][y][x] = grad[at], rest[y][x] += grad[at] * image[at];
            }
    bool done = false;
    for (int64_t j = view.offsets[tile]; j < view.offsets[tile + 1]; j++) {
        int32_t r = view.lists[j];
        const Record &e = view.records[r];
        const int32_t *box = &view.boxes[4 * size_t(r)];
        Pair &pair = pairs[base[r] + (tile_y - box[1]) * (box[2] - box[0]) + tile_x - box[0]];
        if (done) {
            pair = {};
            continue;
        }
        float ey = e.y - top;
        int first, last;
        rows_of(ey, e.half_y, first, last);
        row_t dx = COLUMNS - (e.x - left), s[10] = {};
        for (int y = first; y < last; y++) {
            float dy = y + 0.5f - ey;
            row_t u = e.xx * dx + e.xy * dy, v = e.xy * dx + e.yy * dy, sigma = 0.5f * (dx * u + dy * v);
            row_t raw = e.opacity * falloff(sigma);
            row_t alpha = pick(sigma <= e.limit, low(raw, spread(ALPHA_MAX)), row_t{});
            row_t before = light[y], weight = alpha * before, after = before - weight;
            mask_t stop = after <= LIGHT_MIN;
            weight = pick(stop, row_t{}, weight);
            light[y] = pick(stop, -pick(before < 0.f, -before, before), after);
            row_t value = e.rgb[0] * g[0][y] + e.rgb[1] * g[1][y] + e.rgb[2] * g[2][y] + e.depth * g[3][y] + g[4][y];
            rest[y] -= weight * value;
            row_t d = before * value - rest[y] / (1.f - alpha);
            d = pick((weight > 0.f) & (raw <= ALPHA_MAX), -d * alpha, row_t{});
            row_t du = d * u, dv = d * v;
            s[0] += du, s[1] += dv, s[2] += du * u, s[3] += du * v, s[4] += dv * v, s[5] -= d;
            s[6] += weight * g[0][y], s[7] += weight * g[1][y], s[8] += weight * g[2][y], s[9] += weight * g[3][y];
        }
        for (int k = 0; k < 10; k++) pair.sums[k] = total(s[k]);
        pair.sums[5] /= e.opacity;
        if ((j & 15) == 15) done = dark(light);
    }
}

void quat_backward(const float *q, const float *g, float *out) {
    float inverse = 1 / std::max(std::sqrt(q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3]), 1e-12f);
    float w = q[0] * inverse, x = q[1] * inverse, y = q[2] * inverse, z = q[3] * inverse;
    float d[4] = {2 * (x * (g[7] - g[5]) + y * (g[2] - g[6]) + z * (g[3] - g[1])),
                  2 * (w * (g[7] - g[5]) - 2 * x * (g[4] + g[8]) + y * (g[1] + g[3]) + z * (g[2] + g[6])),
                  2 * (w * (g[2] - g[6]) + x * (g[1] + g[3]) - 2 * y * (g[0] + g[8]) + z * (g[5] + g[7])),
                  2 * (w * (g[3] - g[1]) + x * (g[2] + g[6]) + y * (g[5] + g[7]) - 2 * z * (g[0] + g[4]))};
    float along = d[0] * w + d[1] * x + d[2] * y + d[3] * z;
    out[0] = (d[0] - along * w) * inverse, out[1] = (d[1] - along * x) * inverse;
    out[2] = (d[2] - along * y) * inverse, out[3] = (d[3] - along * z) * inverse;
}

void project_backward_one(const View &view, int32_t r, const Pair *first, const Pair *last, float **grads) {
    const Scene &sc = view.scene;
    const float *cam = view.camera;
    int64_t i = view.ids[r];
    float s[10] = {}, p[3], rot[9], u[3], v[3], a[3], b[3], gu[3], gv[3], wu[3], wv[3], g[9];
    for (const Pair *pair = first; pair < last; pair++)
        for (int k = 0; k < 10; k++) s[k] += pair->sums[k];
    to_camera(cam, sc.means + 3 * i, p);
    rotation(sc.quats + 4 * i, rot);
    jacobian_rows(cam, p, u, v);
    const float *scale = sc.scales + 3 * i;
    for (int c = 0; c < 3; c++) {
        a[c] = u[0] * rot[c] + u[1] * rot[3 + c] + u[2] * rot[6 + c];
        b[c] = v[0] * rot[c] + v[1] * rot[3 + c] + v[2] * rot[6 + c];
        float ga = (-s[2] * a[c] - s[3] * b[c]) * scale[c], gb = (-s[3] * a[c] - s[4] * b[c]) * scale[c];
        grads[2][3 * i + c] = ga * a[c] + gb * b[c];
        gu[c] = ga * scale[c], gv[c] = gb * scale[c];
    }
    for (int k = 0; k < 3; k++) {
        for (int c = 0; c < 3; c++) g[3 * k + c] = u[k] * gu[c] + v[k] * gv[c];
        wu[k] = rot[3 * k] * gu[0] + rot[3 * k + 1] * gu[1] + rot[3 * k + 2] * gu[2];
        wv[k] = rot[3 * k] * gv[0] + rot[3 * k + 1] * gv[1] + rot[3 * k + 2] * gv[2];
    }
    quat_backward(sc.quats + 4 * i, g, grads[1] + 4 * i);
    float inverse = 1 / p[2], fx = cam[FOCAL] * inverse * inverse, fy = cam[FOCAL + 1] * inverse * inverse;
    float j00 = cam[0] * wu[0] + cam[1] * wu[1] + cam[2] * wu[2], j02 = cam[6] * wu[0] + cam[7] * wu[1] + cam[8] * wu[2];
    float j11 = cam[3] * wv[0] + cam[4] * wv[1] + cam[5] * wv[2], j12 = cam[6] * wv[0] + cam[7] * wv[1] + cam[8] * wv[2];
    float tx = p[0] * inverse, ty = p[1] * inverse;
    float ix = std::clamp(tx, cam[TAN_LOW], cam[TAN_HIGH]), iy = std::clamp(ty, cam[TAN_LOW + 1], cam[TAN_HIGH + 1]);
    float gx = ix == tx ? -fx * j02 : 0, gy = iy == ty ? -fy * j12 : 0;
    float gz = fx * ix * j02 + fy * iy * j12 - fx * j00 - fy * j11 - tx * gx - ty * gy;
    float cx = -s[0] * cam[FOCAL] * inverse, cy = -s[1] * cam[FOCAL + 1] * inverse;
    gx += cx, gy += cy, gz += s[9] - (p[0] * cx + p[1] * cy) * inverse;
    for (int c = 0; c < 3; c++) grads[0][3 * i + c] = cam[c] * gx + cam[3 + c] * gy + cam[6 + c] * gz;
    grads[3][i] = s[5];
    for (int c = 0; c < 3; c++)
        grads[4][3 * sc.coefficients * i + c] = view.records[r].rgb[c] > 0 ? 0.28209479f * s[6 + c] : 0;
}

}  // namespace

extern "C" {

// Renders into image [5, height, width] (red, green, blue, depth_z, alpha); the result goes to backward or release.
View *forward(int64_t n, int64_t coefficients, const float *const *scene, const float *camera, int height, int width,
              float *image, int threads) {
    View *view = new View;
    view->scene = {n, coefficients, scene[0], scene[1], scene[2], scene[3], scene[4]};
    std::copy(camera, camera + 27, view->camera);
    view->height = height, view->width = width;
    view->tiles_x = (width + TILE - 1) / TILE, view->tiles_y = (height + TILE - 1) / TILE;
    project(*view, threads);
    sort_by_depth(*view);
    list_per_tile(*view, threads);
    run_shares(threads, view->tiles_y, [&](int y) {
        for (int x = 0; x < view->tiles_x; x++) blend_tile(*view, y * view->tiles_x + x, image);
    });
    return view;
}

// Gradients of means, quats, scales, opacities and sh, all zero before.
void backward(const View *view, const float *image, const float *grad, float **grads, int threads) {
    std::unique_ptr<int64_t[]> base(new int64_t[view->scene.n]);
    int64_t pairs = 0;
    auto area = [&](int32_t r) {
        const int32_t *box = &view->boxes[4 * size_t(r)];
        return (box[2] - box[0]) * (box[3] - box[1]);
    };
    for (int32_t r : view->order) base[r] = pairs, pairs += area(r);
    std::unique_ptr<Pair[]> rows(new Pair[pairs]);
    run_shares(threads, view->tiles_y, [&](int y) {
        for (int x = 0; x < view->tiles_x; x++)
            blend_tile_backward(*view, y * view->tiles_x + x, image, grad, base.get(), rows.get());
    });
    run_shares(threads, int(view->counts.size()), [&](int share) {
        for (int32_t r = share * SHARE, end = r + view->counts[share]; r < end; r++)
            project_backward_one(*view, r, &rows[base[r]], &rows[base[r]] + area(r), grads);
    });
}

void release(View *view) { delete view; }
}
