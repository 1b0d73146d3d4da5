// A block of the compute-cost-amortized Transformer (arXiv 2207.02393), for inference on a CPU.
//
// Only products of queries, keys and feed-forwards that are on are computed. There is one
// exception, a few per cent of the products: up to 32 frames are processed together, and a query is
// multiplied with all keys that any of these frames attends to. The outputs and the counted
// multiplications equal those of asrlib/encoders/skippable_blocks.py with masking. The code is C++,
// because in a stream of small pieces the calls of an interpreter take more time than the products.
//
// Shapes: B streams, S frames, R = B S rows, D width, H heads, K features per head, C = 2 K (key
// and value), L frames of left context, N = L + S keys, U units of the feed-forward.

#include <ATen/ATen.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>
#include <vector>

// The BLAS routine is part of libtorch_cpu. It stores matrices by columns.
extern "C" void sgemm_(const char* transpose_a, const char* transpose_b, const int* m, const int* n,
                       const int* k, const float* alpha, const float* a, const int* lda,
                       const float* b, const int* ldb, const float* beta, float* c, const int* ldc);

namespace {

constexpr int kFramesAtOnce = 32;  // frames whose attention is computed together

using Rows = std::vector<int>;
using Buffer = std::vector<float>;

// c (m, n) = a (m, k) b (n, k)^T, stored by rows; lda and ldb are the strides between rows.
void product_transposed(int m, int n, int k, const float* a, int lda, const float* b, int ldb,
                        float* c) {
  const float one = 1, zero = 0;
  sgemm_("T", "N", &n, &m, &k, &one, b, &ldb, a, &lda, &zero, c, &n);
}

// c (m, n) = a (m, k) b (k, n), stored by rows.
void product(int m, int n, int k, const float* a, const float* b, float* c) {
  const float one = 1, zero = 0;
  sgemm_("N", "N", &n, &m, &k, &one, b, &n, a, &k, &zero, c, &n);
}

// Rows whose toggle is on; `stride` is the distance between toggles in memory.
Rows rows_on(const float* toggles, int count, int stride) {
  Rows rows;
  for (int r = 0; r < count; ++r) {
    if (toggles[r * stride] > 0) rows.push_back(r);
  }
  return rows;
}

bool all_on(const std::vector<Rows>& rows_of, int count) {
  return std::all_of(rows_of.begin(), rows_of.end(), [&](const Rows& rows) {
    return static_cast<int>(rows.size()) == count;
  });
}

// Gathers the first `width` floats of the given rows of x; `stride` is the distance between rows.
// If these are all `count` rows and they are contiguous, x itself is returned without a copy.
const float* gathered(const float* x, int stride, int width, const Rows& rows, int count,
                      Buffer& buffer) {
  if (stride == width && static_cast<int>(rows.size()) == count) return x;
  buffer.resize(rows.size() * width);
  for (size_t i = 0; i < rows.size(); ++i) {
    const float* row = x + static_cast<int64_t>(rows[i]) * stride;
    std::copy(row, row + width, buffer.data() + i * width);
  }
  return buffer.data();
}

// A Linear with `width` outputs per head, computed for each head at its own rows; other rows have 0
// plus the bias.
Buffer project(const float* x, int count, int dim, const std::vector<Rows>& rows_of,
               const float* weight, const float* bias, int width) {
  const int heads = rows_of.size(), total = heads * width;
  Buffer y(static_cast<size_t>(count) * total), inputs, outputs;
  if (all_on(rows_of, count)) {
    product_transposed(count, total, dim, x, dim, weight, dim, y.data());
  } else {
    for (int h = 0; h < heads; ++h) {
      const Rows& rows = rows_of[h];
      if (rows.empty()) continue;
      const float* x_h = gathered(x, dim, dim, rows, count, inputs);
      outputs.resize(rows.size() * width);
      product_transposed(rows.size(), width, dim, x_h, dim, weight + h * width * dim, dim,
                         outputs.data());
      for (size_t i = 0; i < rows.size(); ++i) {
        std::copy_n(outputs.data() + i * width, width, y.data() + rows[i] * total + h * width);
      }
    }
  }
  if (bias != nullptr) {
    for (int r = 0; r < count; ++r) {
      for (int i = 0; i < total; ++i) y[r * total + i] += bias[i];
    }
  }
  return y;
}

// A range of rows: [first, last).
struct Part {
  const int *first, *last;
  int count() const { return last - first; }
};

// The keys that any query from `from` to `to` attends to; query s has position L + s among keys.
Part within_reach(const Part& keys, int from, int to, int left_context) {
  const int* first = std::lower_bound(keys.first, keys.last, from);
  return {first, std::upper_bound(first, keys.last, to + left_context)};
}

// Replaces scores by attention weights: a softmax over the keys within reach, or zeros if there are
// none. Queries are numbered 0 .. S - 1, keys 0 .. N - 1. Adds to seen (S) the number of keys that
// each query attends to.
void attention_weights(float* scores, const Part& queries, const Part& keys, int left_context,
                       float scale, const float* bias_by_distance, float* seen) {
  for (const int* query = queries.first; query < queries.last; ++query, scores += keys.count()) {
    const Part near = within_reach(keys, *query, *query, left_context);
    const int now = *query + left_context;
    const int begin = near.first - keys.first, end = near.last - keys.first;
    seen[*query] += near.count();
    float highest = -std::numeric_limits<float>::infinity(), sum = 0;
    for (int p = begin; p < end; ++p) {
      scores[p] = scores[p] * scale + bias_by_distance[now - keys.first[p]];
      highest = std::max(highest, scores[p]);
    }
    for (int p = begin; p < end; ++p) sum += scores[p] = std::exp(scores[p] - highest);
    std::fill(scores, scores + begin, 0.0f);
    std::fill(scores + end, scores + keys.count(), 0.0f);
    for (int p = begin; p < end; ++p) scores[p] /= sum;
  }
}

struct Sizes {
  int batch, frames, dim, heads, head_dim, left_context;
};

// Attention of one head in one stream: writes the weighted sums of the values into the rows of y (D
// floats apart) whose queries are on. cache (L, C) holds earlier keys and values, fresh (rows H C
// floats apart) those of this piece.
void attend(const Sizes& z, const float* cache, const float* fresh, const Rows& keys,
            const float* query, const Rows& queries, const float* bias_by_distance, float* y,
            float* seen) {
  const int width = z.head_dim, pair = 2 * width, count = keys.size();
  const Part all_keys{keys.data(), keys.data() + count};
  Buffer key(count * width), value(count * width), inputs, scores, sums(queries.size() * width);
  for (int p = 0; p < count; ++p) {
    const int age = keys[p] - z.left_context;
    const float* source =
        age < 0 ? cache + keys[p] * pair : fresh + static_cast<int64_t>(age) * z.heads * pair;
    std::copy_n(source, width, key.data() + p * width);
    std::copy_n(source + width, width, value.data() + p * width);
  }
  const float* query_MK = gathered(query, z.dim, width, queries, z.frames, inputs);
  const int* end = queries.data() + queries.size();
  for (Part some{queries.data(), nullptr}; some.first < end; some.first = some.last) {
    some.last = std::lower_bound(some.first, end, *some.first + kFramesAtOnce);
    const Part near = within_reach(all_keys, *some.first, *(some.last - 1), z.left_context);
    if (near.count() == 0) continue;
    const int64_t row = some.first - queries.data(), from = near.first - all_keys.first;
    scores.resize(static_cast<size_t>(some.count()) * near.count());
    product_transposed(some.count(), near.count(), width, query_MK + row * width, width,
                       key.data() + from * width, width, scores.data());
    attention_weights(scores.data(), some, near, z.left_context,
                      1 / std::sqrt(static_cast<float>(width)), bias_by_distance, seen);
    product(some.count(), width, near.count(), scores.data(), value.data() + from * width,
            sums.data() + row * width);
  }
  for (size_t m = 0; m < queries.size(); ++m) {
    std::copy_n(sums.data() + m * width, width, y + queries[m] * z.dim);
  }
}

// Adds to x (R, D) the output of each head, at rows where its query is on, and the bias.
void add_output(const Sizes& z, const Buffer& y, const std::vector<Rows>& rows_of,
                const float* weight, const float* bias, float* x) {
  const int count = z.batch * z.frames, width = z.head_dim;
  const bool all = all_on(rows_of, count);
  Buffer inputs, outputs;
  // If everything is on, one product serves all heads; otherwise there is one per head.
  for (int h = 0; h < (all ? 1 : z.heads); ++h) {
    const Rows& rows = rows_of[h];
    if (rows.empty()) continue;
    const int taken = all ? z.dim : width;
    const float* y_h = gathered(y.data() + h * width, z.dim, taken, rows, count, inputs);
    outputs.resize(rows.size() * z.dim);
    product_transposed(rows.size(), z.dim, taken, y_h, taken, weight + h * width, z.dim,
                       outputs.data());
    for (size_t i = 0; i < rows.size(); ++i) {
      for (int d = 0; d < z.dim; ++d) x[rows[i] * z.dim + d] += outputs[i * z.dim + d];
    }
  }
  for (int r = 0; r < count; ++r) {
    for (int d = 0; d < z.dim; ++d) x[r * z.dim + d] += bias[d];
  }
}

const float* data_of(const at::Tensor& tensor) {
  TORCH_CHECK(tensor.is_contiguous() && tensor.scalar_type() == at::kFloat && tensor.is_cpu(),
              "gated_block: a contiguous float32 tensor on the CPU is wanted");
  return tensor.data_ptr<float>();
}

// Keeps the last L of the L earlier and S new rows of each head.
void keep_last(const Sizes& z, const float* cache_BHLX, const float* fresh_RHX, int width,
               float* kept_BHLX) {
  const int dropped = std::min(z.frames, z.left_context), old = z.left_context - dropped;
  for (int b = 0; b < z.batch; ++b) {
    for (int h = 0; h < z.heads; ++h) {
      const int64_t at = static_cast<int64_t>(b * z.heads + h) * z.left_context * width;
      std::copy_n(cache_BHLX + at + dropped * width, old * width, kept_BHLX + at);
      for (int i = 0; i < dropped; ++i) {
        const int64_t row = static_cast<int64_t>(b) * z.frames + z.frames - dropped + i;
        std::copy_n(fresh_RHX + (row * z.heads + h) * width, width,
                    kept_BHLX + at + (old + i) * width);
      }
    }
  }
}

// Attention with a residual connection. Returns the output, the keys and values of the last L
// frames and their toggles, and the number of multiplications (B, S) per frame.
// weights: LayerNorm (2), query (2), key_value (1), output (2), bias by head and distance (1).
std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> attention(
    const at::Tensor& input, const at::Tensor& query_toggles, const at::Tensor& key_toggles,
    const at::Tensor& cache_before, const at::Tensor& keep_before,
    const std::vector<at::Tensor>& weights) {
  TORCH_CHECK(weights.size() == 8, "gated_attention: 8 weights are wanted");
  const at::Tensor x_BSD = input.contiguous(), query_BSH = query_toggles.contiguous(),
                   key_BSH = key_toggles.contiguous(), cache_BHLC = cache_before.contiguous(),
                   keep_BHL = keep_before.contiguous();
  const Sizes z{static_cast<int>(x_BSD.size(0)),       static_cast<int>(x_BSD.size(1)),
                static_cast<int>(x_BSD.size(2)),       static_cast<int>(query_BSH.size(2)),
                static_cast<int>(x_BSD.size(2) / query_BSH.size(2)),
                static_cast<int>(keep_BHL.size(2))};
  const int count = z.batch * z.frames, pair = 2 * z.head_dim;
  const float *query_on = data_of(query_BSH), *key_on = data_of(key_BSH);
  const float *cache = data_of(cache_BHLC), *keep = data_of(keep_BHL);
  std::vector<Rows> query_rows, key_rows;
  for (int h = 0; h < z.heads; ++h) {
    query_rows.push_back(rows_on(query_on + h, count, z.heads));
    key_rows.push_back(rows_on(key_on + h, count, z.heads));
  }
  const at::Tensor normed = at::layer_norm(x_BSD, {z.dim}, weights[0], weights[1]);
  const Buffer fresh =
      project(data_of(normed), count, z.dim, key_rows, data_of(weights[4]), nullptr, pair);
  const Buffer query = project(data_of(normed), count, z.dim, query_rows, data_of(weights[2]),
                               data_of(weights[3]), z.head_dim);
  Buffer sums(static_cast<size_t>(count) * z.dim);
  at::Tensor spent_BS = at::zeros({z.batch, z.frames});
  float* spent = spent_BS.data_ptr<float>();  // first the number of keys, below the multiplications
  const float* bias_HL = data_of(weights[7]);
  for (int b = 0; b < z.batch; ++b) {
    for (int h = 0; h < z.heads; ++h) {
      const int64_t row = static_cast<int64_t>(b) * z.frames, at = b * z.heads + h;
      const Rows queries = rows_on(query_on + row * z.heads + h, z.frames, z.heads);
      Rows keys = rows_on(keep + at * z.left_context, z.left_context, 1);
      for (int s : rows_on(key_on + row * z.heads + h, z.frames, z.heads)) {
        keys.push_back(z.left_context + s);
      }
      if (queries.empty() || keys.empty()) continue;
      attend(z, cache + at * z.left_context * pair, fresh.data() + (row * z.heads + h) * pair,
             keys, query.data() + row * z.dim + h * z.head_dim, queries,
             bias_HL + h * (z.left_context + 1), sums.data() + row * z.dim + h * z.head_dim,
             spent + row);
    }
  }
  for (int r = 0; r < count; ++r) {
    float on = 0;
    for (int h = 0; h < z.heads; ++h) {
      on += (query_on[r * z.heads + h] > 0) + (key_on[r * z.heads + h] > 0);
    }
    spent[r] = pair * (spent[r] + on * z.dim);
  }
  at::Tensor y_BSD = x_BSD.clone();
  at::Tensor cache_next = at::empty_like(cache_BHLC), keep_next = at::empty_like(keep_BHL);
  add_output(z, sums, query_rows, data_of(weights[5]), data_of(weights[6]),
             y_BSD.data_ptr<float>());
  keep_last(z, cache, fresh.data(), pair, cache_next.data_ptr<float>());
  keep_last(z, keep, key_on, 1, keep_next.data_ptr<float>());
  return {y_BSD, cache_next, keep_next, spent_BS};
}

// Feed-forward with a residual connection, at rows that are on; other rows pass unchanged.
// weights: LayerNorm (2), first Linear (2), second Linear (2); a Swish lies between the Linears.
at::Tensor feed_forward(const at::Tensor& input, const at::Tensor& toggle_BS,
                        const std::vector<at::Tensor>& weights) {
  TORCH_CHECK(weights.size() == 6, "gated_feed_forward: 6 weights are wanted");
  const at::Tensor x_BSD = input.contiguous(), toggles = toggle_BS.contiguous();
  const int dim = x_BSD.size(2), units = weights[2].size(0), all = toggles.numel();
  const Rows rows = rows_on(data_of(toggles), all, 1);
  at::Tensor y_BSD = x_BSD.clone();
  if (rows.empty()) return y_BSD;
  const int count = rows.size();
  Buffer inputs, outputs(static_cast<size_t>(count) * dim);
  const float* x = gathered(data_of(x_BSD), dim, dim, rows, all, inputs);
  const at::Tensor normed = at::layer_norm(at::from_blob(const_cast<float*>(x), {count, dim}),
                                           {dim}, weights[0], weights[1]);
  at::Tensor hidden = at::empty({count, units});
  product_transposed(count, units, dim, data_of(normed), dim, data_of(weights[2]), dim,
                     hidden.data_ptr<float>());
  at::silu_(hidden.add_(weights[3]));
  product_transposed(count, dim, units, data_of(hidden), units, data_of(weights[4]), units,
                     outputs.data());
  float* y = y_BSD.data_ptr<float>();
  const float* bias = data_of(weights[5]);
  for (int i = 0; i < count; ++i) {
    for (int d = 0; d < dim; ++d) y[rows[i] * dim + d] += outputs[i * dim + d] + bias[d];
  }
  return y_BSD;
}

}  // namespace

TORCH_LIBRARY(fairstream, library) {
  library.def(
      "gated_attention(Tensor x, Tensor query, Tensor key, Tensor cache, Tensor keep, "
      "Tensor[] weights) -> (Tensor, Tensor, Tensor, Tensor)");
  library.def("gated_feed_forward(Tensor x, Tensor toggle, Tensor[] weights) -> Tensor");
}

TORCH_LIBRARY_IMPL(fairstream, CPU, library) {
  library.impl("gated_attention", attention);
  library.impl("gated_feed_forward", feed_forward);
}
