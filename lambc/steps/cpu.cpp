// Algorithm 1, lines 7 to 17, in two passes over memory and no temporary: 40 bytes a float32 parameter.
//
// The first pass reads g, m, v, w, writes m and v, and sums the squares of w and of the update; the second reads m, v,
// w, forms the update anew, and writes w. It goes backwards: what the first touched last is still in the cache.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <vector>

namespace {

// Elements that a thread takes at a time; those whose squares are summed in T, each lane its own, before double takes
// over: as many additions in T as are right to 1e-6 even where all elements round the same way.
constexpr int64_t BLOCK = 8192, ROW = 512, LANES = 16;

template <typename T>
struct Layer {
    T *w, *m, *v;
    const T *g;
    int64_t size, first_block;
    T scale, shift, distance;  // the bias corrections and ε, as `direction` takes them
};

template <typename T>
struct Options {
    T beta1, rest1, beta2, rest2, decay, scale;
};

struct Block {
    int64_t layer, from, to;
    double weights, updates;  // sums of squares
};

// Line 12: m̂ / (√v̂ + ε), or m̂ / √(v̂ + ε), with m̂ = m / c1 and v̂ = v / c2 folded into the denominator.
template <typename T, bool EPS_INSIDE>
inline T direction(T m, T v, const Layer<T> &layer) {
    return m / (EPS_INSIDE ? std::sqrt(v * layer.scale + layer.shift) : std::sqrt(v) * layer.scale + layer.shift);
}

template <typename T, bool EPS_INSIDE, bool DECAY, bool DECAY_IN_RATIO>
void moments(const Layer<T> &layer, Block &block, const Options<T> &o) {
    T *__restrict m = layer.m, *__restrict v = layer.v;
    const T *__restrict w = layer.w, *__restrict g = layer.g;
    const Layer<T> own = layer;
    double weights[LANES] = {}, updates[LANES] = {};
    for (int64_t row = block.from; row < block.to; row += ROW) {
        T ww[LANES] = {}, uu[LANES] = {};
        const auto element = [&](int64_t i, int64_t lane) {
            const T gradient = g[i] * o.scale;
            m[i] = o.beta1 * m[i] + o.rest1 * gradient;
            v[i] = o.beta2 * v[i] + o.rest2 * gradient * gradient;
            T update = direction<T, EPS_INSIDE>(m[i], v[i], own);
            if (DECAY && DECAY_IN_RATIO) update += o.decay * w[i];
            ww[lane] += w[i] * w[i];
            uu[lane] += update * update;
        };
        const int64_t end = std::min(row + ROW, block.to), whole = row + (end - row) / LANES * LANES;
        for (int64_t i = row; i < whole; i += LANES)
            for (int64_t lane = 0; lane < LANES; lane++) element(i + lane, lane);
        for (int64_t i = whole; i < end; i++) element(i, i - whole);
        for (int64_t lane = 0; lane < LANES; lane++) weights[lane] += ww[lane], updates[lane] += uu[lane];
    }
    block.weights = std::accumulate(weights, weights + LANES, 0.0);
    block.updates = std::accumulate(updates, updates + LANES, 0.0);
}

template <typename T, bool EPS_INSIDE, bool DECAY>
void apply(const Layer<T> &layer, const Block &block, const Options<T> &o) {
    T *__restrict w = layer.w;
    const T *__restrict m = layer.m, *__restrict v = layer.v;
    const Layer<T> own = layer;
    for (int64_t i = block.from; i < block.to; i++) {
        const T r = direction<T, EPS_INSIDE>(m[i], v[i], own);
        w[i] -= own.distance * (DECAY ? r + o.decay * w[i] : r);
    }
}

template <typename T>
double ratio_of(T weight_norm, T update_norm, const double *phi) {
    if (!(weight_norm > 0 && std::isfinite(weight_norm) && update_norm > 0 && std::isfinite(update_norm))) return 1;
    const double ratio = (phi ? std::min(std::max<double>(weight_norm, phi[0]), phi[1]) : weight_norm) / update_norm;
    return ratio <= std::numeric_limits<T>::max() ? ratio : 1;
}

// Layers whose step is taken together: from `first`, as many as hold `capacity` elements, or one that is larger.
template <typename T>
void step_of(int64_t layers, const int64_t *addresses, const double *limits, const double *numbers, const double *phi,
             double lr, int64_t capacity, int eps_inside, int decay_in_ratio, int threads, double *ratios) {
    const Options<T> o{T(numbers[0]),     T(1 - numbers[0]), T(numbers[1]),
                       T(1 - numbers[1]), T(numbers[3]),     T(numbers[4])};
    const bool decay = numbers[3] != 0;
    const auto first_pass = eps_inside
        ? (!decay ? moments<T, true, false, false>
                  : decay_in_ratio ? moments<T, true, true, true> : moments<T, true, true, false>)
        : (!decay ? moments<T, false, false, false>
                  : decay_in_ratio ? moments<T, false, true, true> : moments<T, false, true, false>);
    const auto second_pass = eps_inside ? (decay ? apply<T, true, true> : apply<T, true, false>)
                                        : (decay ? apply<T, false, true> : apply<T, false, false>);
    std::vector<Layer<T>> table(layers);
    std::vector<Block> blocks;
    for (int64_t first = 0; first < layers;) {
        int64_t last = first, held = 0;
        blocks.clear();
        for (; last < layers; last++) {
            const int64_t *address = addresses + 5 * last, size = address[4];
            if (last > first && held + size > capacity) break;
            held += size;
            const double c1 = limits[4 * last], c2 = limits[4 * last + 1], eps = numbers[2];
            table[last] = {(T *)address[0], (T *)address[2], (T *)address[3], (const T *)address[1], size,
                           (int64_t)blocks.size(), T(eps_inside ? c1 * c1 / c2 : c1 / std::sqrt(c2)),
                           T(eps_inside ? c1 * c1 * eps : c1 * eps), 0};
            for (int64_t from = 0; from < size; from += BLOCK)
                blocks.push_back({last, from, std::min(from + BLOCK, size), 0, 0});
        }
        const int64_t count = blocks.size();
#pragma omp parallel for schedule(static) num_threads(threads)
        for (int64_t b = 0; b < count; b++) first_pass(table[blocks[b].layer], blocks[b], o);
        // In the order of the blocks, so that the number of threads changes nothing.
        for (int64_t layer = first; layer < last; layer++) {
            double weights = 0, updates = 0;
            for (int64_t b = table[layer].first_block; b < count && blocks[b].layer == layer; b++)
                weights += blocks[b].weights, updates += blocks[b].updates;
            const T weight_norm = T(std::sqrt(weights)), update_norm = T(std::sqrt(updates));
            const double ratio = ratio_of<T>(weight_norm, update_norm, phi);
            const double clipped = std::min(std::max(ratio, limits[4 * layer + 2]), limits[4 * layer + 3]);
            table[layer].distance = T(lr * clipped);
            const double row[] = {double(weight_norm), double(update_norm), ratio, clipped};
            std::copy(row, row + 4, ratios + 4 * layer);
        }
#pragma omp parallel for schedule(static) num_threads(threads)
        for (int64_t n = 0; n < count; n++) {
            const Block &block = blocks[count - 1 - n];
            second_pass(table[block.layer], block, o);
        }
        first = last;
    }
}

}  // namespace

// addresses: of w, g, m, v, and the number of elements, of each layer. limits: 1 - β1^t, 1 - β2^t, and the bounds of
// the ratio, of each. numbers: β1, β2, ε, λ, and what gradients are multiplied by. phi: two numbers, or null.
// ratios: ‖w‖, ‖update‖, and the ratio before and after clipping, of each layer, are written there.
#define STEP(NAME, T)                                                                                              \
    extern "C" void NAME(int64_t layers, const int64_t *addresses, const double *limits, const double *numbers,    \
                         const double *phi, double lr, int64_t capacity, int eps_inside, int decay_in_ratio,       \
                         int threads, double *ratios) {                                                            \
        step_of<T>(layers, addresses, limits, numbers, phi, lr, capacity, eps_inside, decay_in_ratio, threads,     \
                   ratios);                                                                                        \
    }

STEP(step_float32, float)
STEP(step_float64, double)
