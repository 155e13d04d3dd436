// A forest's answers on an NVIDIA GPU. One source: nvcc and NVRTC compile it for GPUs; with emulation.h before it, a
// C++ compiler does, and every lane of every block is then run on a CPU.
//
// A row becomes ranks: a *column* holds, for a feature, how many of its thresholds the value passes (a byte, or 16
// bits), for each way that its NaN goes; or whether a category is in a set. So each test is `rank > key`, and exact.
//
// A *tile* is 128 rows of bytes, or 64 of 16 bits: [column][lane][row / 32], 128 bytes a column. Whatever column a lane
// reads, it reads its own bank of shared memory; and one word has the ranks of 4 (2) rows of a lane.
//
// A tree is a heap of words: the header (levels P in bits 0-7, bit 8: values follow), nodes 1 to 2^P - 1 (column << 16
// | key; node h's children are 2 h and 2 h + 1), then the values of its 2^P slots where it has one a leaf and isn't
// deeper than P. All other trees have a target a slot, in `slot_target`: a leaf, or a node of `deep`.
//
// Leaves are added in the order of the trees, row by row, as the frameworks and the kernel for CPUs do: the same bits,
// however many rows there are and whichever plan is taken.
//
//   mw_rank, mw_rows or mw_tiles, mw_finish: many rows; a lane has 1 row and 4 trees in flight, or 4 (2) rows of a tree
//   mw_few: few rows; several blocks have the trees of some rows, and the last one adds
#ifdef __CUDACC__
#define MW_DEVICE __device__ __forceinline__
#define MW_KERNEL extern "C" __global__ void __launch_bounds__(256, 2)
#define MW_GIVEN const __grid_constant__
#define MW_SHARED(name) extern __shared__ __align__(16) unsigned char name[]
#define MW_ONE(type, name) __shared__ type name
#endif

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

// What makes the columns [first, last) of a feature: `source` of the row, sought in a perfect search tree of `levels`
// levels, `table` of `search` on, whose first `count` numbers in order are thresholds.
struct MwFeature {
  u32 source, first, last, levels, count, table;
};

// A rank counts thresholds from `base` on; `nan` is that of NaN. `set` isn't kNoSet: all ones in it, 0 out of it.
struct MwColumn {
  u32 base, nan, set;
};

// All that a kernel is given. compile/runners/cuda_runner.py has the same fields.
struct MwGiven {
  // the forest
  const float *search;
  const MwFeature *feature;
  const MwColumn *column;
  const u32 *member, *set_start;
  const float *sentinel;
  const u32 *tree, *tree_at;  // [T + 1]: words of `tree`
  const u32 *tree_id;         // [T]: trees are ordered by output; the model's own number
  const u32 *tree_slot, *slot_target;
  const u32 *deep;          // [·, 4]: column << 16 | key, target where not above, target where above, 0
  const int *leaf_row;      // rows of the node table
  const void *leaf_value;   // [leaves, leaf_stride]
  const u32 *output_start;  // [K + 1]: trees of an output, where a leaf has one value
  const void *base;         // [K]
  const u32 *group;         // [groups + 1]: trees that are in shared memory together
  // the call
  const float *rows;
  u8 *ranks;     // [tiles][columns][128]
  void *values;  // of mw_few: [tiles of rows][values to add][rows]
  void *sums;    // [n, K]
  u32 *arrived;  // [tiles of rows] zeros
  void *out;     // float [n, K'], double [n, K], int [n, T] by kind
  u64 n, stride;
  u32 inputs, features, columns, sentinels, trees, outputs, leaf_stride, groups;
  u32 or_equal, average, base_last, postprocess, wide;
  u32 kind, staged, few, room;  // few: log2 of mw_few's rows a block; room: bytes of its shared memory
};

enum : u32 { kAnswers = 0, kMargins = 1, kLeaves = 2 };
// As compile/kernel/postprocess.h numbers them.
enum : u32 { kIdentity, kSigmoid, kBinary, kSoftmax, kExp, kHinge, kBinaryHinge, kBinaryRaw, kSort, kMeanVariance };
enum : u32 { kNoSet = 0xffffffffu, kLeaf = 0x80000000u, kValues = 256, kTileBytes = 128, kCategories = 1u << 24 };

// ── ranks ─────────────────────────────────────────────────────────────────────────────────────────────────────────

MW_DEVICE bool missing(const MwGiven &a, float x) {
  bool out = x != x;
  for (u32 i = 0; i < a.sentinels; i++) out |= x == a.sentinel[i];
  return out;
}

// How many of the feature's thresholds x passes.
MW_DEVICE u32 passed(const MwGiven &a, const MwFeature &f, float x) {
  const float *table = a.search + f.table;
  u32 h = 1;
  for (u32 l = 0; l < f.levels; l++) h = 2 * h + (a.or_equal ? x > table[h] : x >= table[h]);
  h -= 1u << f.levels;
  return h < f.count ? h : f.count;  // infinity passes the padding too
}

MW_DEVICE bool holds(const MwGiven &a, u32 set, float x) {
  if (!(x >= 0.0f && x < float(kCategories))) return false;
  const u32 category = u32(x);
  u32 first = a.set_start[set], last = a.set_start[set + 1];
  while (first < last) {
    const u32 middle = (first + last) / 2;
    if (a.member[middle] == category) return true;
    if (a.member[middle] < category)
      first = middle + 1;
    else
      last = middle;
  }
  return false;
}

template <class Rank> MW_DEVICE u32 rank_in(const MwGiven &a, const MwColumn &c, float x, bool none, u32 rank) {
  constexpr u32 most = Rank(~Rank(0));
  if (none) return c.nan;
  if (c.set != kNoSet) return holds(a, c.set, x) ? most : 0;
  const u32 over = rank < c.base ? 0 : rank - c.base;
  return over < most ? over : most;
}

// One block a tile. Rows come in through shared memory, 32 numbers of each at a time; a warp has a feature, a lane the
// tile's rows lane, lane + 32, …, which it writes as one word.
template <class Rank> MW_DEVICE void rank_tile(const MwGiven &a, float *held) {
  constexpr u32 per = 4 / sizeof(Rank), rows = 32 * per;
  const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32, warps = blockDim.x / 32;
  const u64 first = u64(blockIdx.x) * rows;
  u32 *out = reinterpret_cast<u32 *>(a.ranks) + u64(blockIdx.x) * a.columns * 32;
  u32 next = 0;
  for (u32 from = 0; from < a.inputs; from += 32) {
    const u32 width = a.inputs - from < 32 ? a.inputs - from : 32;
    u32 end = next;
    while (end < a.features && a.feature[end].source < from + width) end++;
    if (end == next) continue;
    __syncthreads();
    for (u32 r = warp; r < rows; r += warps)
      if (lane < width) held[r * 33 + lane] = first + r < a.n ? a.rows[(first + r) * a.stride + from + lane] : 0.0f;
    __syncthreads();
    for (u32 i = next + warp; i < end; i += warps) {
      const MwFeature f = a.feature[i];
      float x[per];
      bool none[per];
      u32 rank[per];
      for (u32 k = 0; k < per; k++) {
        x[k] = held[(k * 32 + lane) * 33 + f.source - from];
        none[k] = missing(a, x[k]);
        rank[k] = passed(a, f, x[k]);
      }
      for (u32 c = f.first; c < f.last; c++) {
        const MwColumn column = a.column[c];
        u32 word = 0;
        for (u32 k = 0; k < per; k++)
          word |= rank_in<Rank>(a, column, x[k], none[k], rank[k]) << (k * 8 * sizeof(Rank));
        out[c * 32 + lane] = word;
      }
    }
    next = end;
  }
}

// ── one tree ──────────────────────────────────────────────────────────────────────────────────────────────────────

// The child of heap node h. `ranks`: a row's, `Step` bytes from column to column.
template <class Rank, u32 Step> MW_DEVICE u32 below(u32 h, u32 node, const u8 *ranks) {
  const u32 rank = *reinterpret_cast<const Rank *>(ranks + (node >> 16) * Step);
  return 2 * h + (rank > (node & 0xffffu));
}

// The leaf behind a target.
template <class Rank, u32 Step> MW_DEVICE u32 leaf_of(const MwGiven &a, u32 target, const u8 *ranks) {
  while (!(target & kLeaf)) {
    const uint4 node = reinterpret_cast<const uint4 *>(a.deep)[target];
    const u32 rank = *reinterpret_cast<const Rank *>(ranks + (node.x >> 16) * Step);
    target = rank > (node.x & 0xffffu) ? node.z : node.y;
  }
  return target & ~kLeaf;
}

// Of each rank in a word its top bit: whether it is above the key. (rank + ~key) / 2 has the carry there.
template <class Rank> MW_DEVICE u32 above(u32 ranks, u32 key) {
  constexpr u32 ones = sizeof(Rank) == 1 ? 0x01010101u : 0x00010001u;
  const u32 other = ~(key * ones);
  return (ranks & other) + (((ranks ^ other) & ~ones) >> 1);
}

MW_DEVICE u32 chosen(u32 by, u32 no, u32 yes) { return (by & yes) | (~by & no); }

// The top three levels of a tree for all rows of a word at once: heap node 8 + place, a place in each rank's bits.
// Seven tests that don't wait for each other, then folded.
template <class Rank> MW_DEVICE u32 top_places(const uint4 &upper, const uint4 &lower, const u8 *ranks) {
  constexpr u32 bits = 8 * sizeof(Rank), tops = (sizeof(Rank) == 1 ? 0x01010101u : 0x00010001u) << (bits - 1);
  const u32 nodes[7] = {upper.y, upper.z, upper.w, lower.x, lower.y, lower.z, lower.w};
  u32 is[7];
#pragma unroll
  for (u32 i = 0; i < 7; i++)
    is[i] = above<Rank>(*reinterpret_cast<const u32 *>(ranks + (nodes[i] >> 16) * kTileBytes), nodes[i] & 0xffffu);
  const u32 second = chosen(is[0], is[1], is[2]);
  const u32 third = chosen(is[0], chosen(is[1], is[3], is[4]), chosen(is[2], is[5], is[6]));
  return (is[0] & tops) >> (bits - 3) | (second & tops) >> (bits - 2) | (third & tops) >> (bits - 1);
}

// ── answers ───────────────────────────────────────────────────────────────────────────────────────────────────────

// e^x rounded to T; a float's is computed in double.
MW_DEVICE float exponential(float x) { return float(exp(double(x))); }
MW_DEVICE double exponential(double x) { return exp(x); }

template <class Sum> MW_DEVICE Sum sigmoid(Sum x) {
  const Sum negative = sizeof(Sum) == 4 && -x > Sum(88.7) ? Sum(88.7) : -x;  // XGBoost's own limit
  return Sum(1) / (Sum(1) + exponential(negative));
}

template <class Sum> MW_DEVICE Sum margin(const MwGiven &a, const Sum *sums, u32 k) {
  const Sum base = static_cast<const Sum *>(a.base)[k];
  if (a.average) return sums[k] / Sum(a.trees ? a.trees : 1) + base;
  return a.base_last ? sums[k] + base : sums[k];
}

template <class Sum> MW_DEVICE Sum begin(const MwGiven &a, u32 k) {
  return a.average || a.base_last ? Sum(0) : static_cast<const Sum *>(a.base)[k];
}

// One row's sums to its answers; compile/kernel/answers.h has the same.
template <class Sum> MW_DEVICE void answer(const MwGiven &a, const Sum *sums, float *out) {
  const u32 k = a.outputs;
  const Sum first = margin(a, sums, 0);
  switch (a.postprocess) {
    case kBinary:
    case kBinaryHinge:
    case kBinaryRaw: {
      const Sum v = a.postprocess == kBinary ? sigmoid(first) : a.postprocess == kBinaryRaw ? first : Sum(first > 0);
      out[0] = float(Sum(1) - v), out[1] = float(v);
      return;
    }
    case kSoftmax: {
      Sum top = first;
      for (u32 i = 1; i < k; i++) top = margin(a, sums, i) > top ? margin(a, sums, i) : top;
      double all = 0;
      for (u32 i = 0; i < k; i++) all += double(exponential(margin(a, sums, i) - top));
      for (u32 i = 0; i < k; i++) out[i] = float(exponential(margin(a, sums, i) - top) / Sum(all));
      return;
    }
    case kMeanVariance: out[0] = float(first), out[1] = float(exponential(Sum(2) * margin(a, sums, 1))); return;
    case kSigmoid:
      for (u32 i = 0; i < k; i++) out[i] = float(sigmoid(margin(a, sums, i)));
      return;
    case kExp:
      for (u32 i = 0; i < k; i++) out[i] = float(exponential(margin(a, sums, i)));
      return;
    case kHinge:
      for (u32 i = 0; i < k; i++) out[i] = margin(a, sums, i) > 0 ? 1.0f : 0.0f;
      return;
    default:
      for (u32 i = 0; i < k; i++) {  // of kSort each goes to its place among those before it
        const float own = float(margin(a, sums, i));
        u32 at = i;
        for (; a.postprocess == kSort && at > 0 && out[at - 1] > own; at--) out[at] = out[at - 1];
        out[at] = own;
      }
  }
}

template <class Sum> MW_DEVICE void finish(const MwGiven &a, u64 row) {
  const Sum *sums = static_cast<const Sum *>(a.sums) + row * a.outputs;
  if (a.kind == kMargins) {
    for (u32 k = 0; k < a.outputs; k++) static_cast<double *>(a.out)[row * a.outputs + k] = double(margin(a, sums, k));
    return;
  }
  const bool pair = a.postprocess == kBinary || a.postprocess == kBinaryHinge || a.postprocess == kBinaryRaw;
  answer<Sum>(a, sums, static_cast<float *>(a.out) + row * (pair ? 2 : a.outputs));
}

template <class Sum> MW_DEVICE void finish_all(const MwGiven &a) {
  const u64 row = u64(blockIdx.x) * blockDim.x + threadIdx.x;
  if (row < a.n) finish<Sum>(a, row);
}

// ── many rows ─────────────────────────────────────────────────────────────────────────────────────────────────────

constexpr u32 kFlight = 4;  // walks of a lane that are in flight together
constexpr u32 kWide = 4;    // outputs that a block adds where a leaf has a value for each

// The sums of a lane's rows: `Rows` rows at `row`, `row` + 32, …; `Width` outputs of each.
template <class Sum, u32 Rows, u32 Width> struct MwSums {
  Sum sum[Rows][Width];
  u64 row;
  u32 k, end;  // the output, and the tree behind its last one

  MW_DEVICE void start(const MwGiven &a, u64 first, u32 output) {
    row = first, k = output;
    end = Width == 1 && !a.wide ? a.output_start[k + 1] : a.trees;
    fill(a);
  }
  MW_DEVICE void fill(const MwGiven &a) {
#pragma unroll
    for (u32 w = 0; w < Width; w++)
#pragma unroll
      for (u32 r = 0; r < Rows; r++) sum[r][w] = k + w < a.outputs ? begin<Sum>(a, k + w) : Sum(0);
  }
  MW_DEVICE void store(const MwGiven &a) {
#pragma unroll
    for (u32 r = 0; r < Rows; r++)
#pragma unroll
      for (u32 w = 0; w < Width; w++)
        if (row + 32 * r < a.n && k + w < a.outputs)
          static_cast<Sum *>(a.sums)[(row + 32 * r) * a.outputs + k + w] = sum[r][w];
  }
  // To the output that tree t adds to.
  MW_DEVICE void move_to(const MwGiven &a, u32 t) {
    if (a.wide || a.kind == kLeaves) return;
    while (t >= end && k + 1 < a.outputs) {
      store(a);
      k++, end = a.output_start[k + 1];
      fill(a);
    }
  }
};

// A row has come to heap node h of tree t: its leaf is added, or told.
template <class Rank, class Sum, u32 Rows, u32 Width>
MW_DEVICE void arrive(const MwGiven &a, u32 t, const u32 *tree, u32 header, u32 h, const u8 *ranks, u32 r,
                      MwSums<Sum, Rows, Width> &own) {
  const u32 slots = 1u << (header & 255u);
  if (Width == 1 && (header & kValues) && a.kind != kLeaves) {
    const Sum *values = reinterpret_cast<const Sum *>(tree + slots);
    own.sum[r][0] += values[h - slots];
    return;
  }
  const u32 leaf = leaf_of<Rank, kTileBytes>(a, a.slot_target[a.tree_slot[t] + h - slots], ranks);
  if (a.kind == kLeaves) {
    const u64 row = own.row + 32 * r;
    if (row < a.n) static_cast<int *>(a.out)[row * a.trees + a.tree_id[t]] = a.leaf_row[leaf];
    return;
  }
  const Sum *value = static_cast<const Sum *>(a.leaf_value) + u64(leaf) * a.leaf_stride + (a.wide ? own.k : 0);
#pragma unroll
  for (u32 w = 0; w < Width; w++) own.sum[r][w] += value[w];
}

// The trees [first, last), which lie at `held`, for all rows of a lane's words.
template <class Rank, class Sum, u32 Width>
MW_DEVICE void trees_of_tile(const MwGiven &a, const u32 *held, u32 first, u32 last, const u8 *ranks,
                             MwSums<Sum, 4 / sizeof(Rank), Width> &own) {
  constexpr u32 per = 4 / sizeof(Rank), bits = 8 * sizeof(Rank);
  const u32 origin = a.tree_at[first];
  for (u32 t = first; t < last; t++) {
    const u32 *tree = held + (a.tree_at[t] - origin);
    const uint4 upper = reinterpret_cast<const uint4 *>(tree)[0], lower = reinterpret_cast<const uint4 *>(tree)[1];
    const u32 levels = upper.x & 255u, places = top_places<Rank>(upper, lower, ranks);
    u32 h[per];
#pragma unroll
    for (u32 r = 0; r < per; r++) h[r] = 8 + ((places >> (bits * r)) & 7u);
    for (u32 l = 3; l < levels; l++)
#pragma unroll
      for (u32 r = 0; r < per; r++) h[r] = below<Rank, kTileBytes>(h[r], tree[h[r]], ranks + r * sizeof(Rank));
    own.move_to(a, t);
#pragma unroll
    for (u32 r = 0; r < per; r++)
      arrive<Rank, Sum, per, Width>(a, t, tree, upper.x, h[r], ranks + r * sizeof(Rank), r, own);
  }
}

// The same for one row of a lane, kFlight trees at a time.
template <class Rank, class Sum, u32 Width>
MW_DEVICE void trees_of_row(const MwGiven &a, const u32 *held, u32 first, u32 last, const u8 *ranks,
                            MwSums<Sum, 1, Width> &own) {
  const u32 origin = a.tree_at[first];
  for (u32 t = first; t < last; t += kFlight) {
    const u32 *tree[kFlight];
    u32 h[kFlight], levels[kFlight], common = 255;
#pragma unroll
    for (u32 i = 0; i < kFlight; i++) {
      tree[i] = held + (a.tree_at[t + i < last ? t + i : last - 1] - origin);
      levels[i] = tree[i][0] & 255u, h[i] = 1;
      common = levels[i] < common ? levels[i] : common;
    }
    for (u32 l = 0; l < common; l++)
#pragma unroll
      for (u32 i = 0; i < kFlight; i++) h[i] = below<Rank, kTileBytes>(h[i], tree[i][h[i]], ranks);
#pragma unroll
    for (u32 i = 0; i < kFlight; i++) {
      for (u32 l = common; l < levels[i]; l++) h[i] = below<Rank, kTileBytes>(h[i], tree[i][h[i]], ranks);
      if (t + i >= last) continue;
      own.move_to(a, t + i);
      arrive<Rank, Sum, 1, Width>(a, t + i, tree[i], tree[i][0], h[i], ranks, 0, own);
    }
  }
}

// All trees, a group at a time through shared memory at `held`, for the block's rows. `ranks`: the lane's own.
template <class Rank, class Sum, u32 Width, u32 Rows>
MW_DEVICE void all_trees(const MwGiven &a, u32 *held, const u8 *ranks, u64 row) {
  MwSums<Sum, Rows, Width> own;
  own.start(a, row, a.wide ? blockIdx.y * kWide : 0);
  for (u32 g = 0; g < a.groups; g++) {
    const u32 first = a.group[g], last = a.group[g + 1];
    const u32 from = a.tree_at[first] / 4, quads = a.tree_at[last] / 4 - from;
    __syncthreads();
    for (u32 i = threadIdx.x; i < quads; i += blockDim.x)
      reinterpret_cast<uint4 *>(held)[i] = reinterpret_cast<const uint4 *>(a.tree)[from + i];
    __syncthreads();
    if constexpr (Rows == 1)
      trees_of_row<Rank, Sum, Width>(a, held, first, last, ranks, own);
    else
      trees_of_tile<Rank, Sum, Width>(a, held, first, last, ranks, own);
  }
  if (a.kind == kLeaves) return;
  own.move_to(a, a.trees);
  own.store(a);
}

// A block has a tile a warp (Tiled), or a tile every 4 (2) warps. Their ranks are copied to shared memory, behind the
// room for trees, where they fit (`staged`); else they are read where they are.
template <class Rank, class Sum, u32 Width, bool Tiled>
MW_DEVICE void many(const MwGiven &a, u8 *shared, u32 tree_bytes) {
  constexpr u32 per = 4 / sizeof(Rank), split = Tiled ? 1 : per;
  const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32, wanted = blockDim.x / 32 / split;
  const u64 tiles = (a.n + 32 * per - 1) / (32 * per), first = u64(blockIdx.x) * wanted,
            bytes = u64(a.columns) * kTileBytes;
  const u32 own = warp / split, part = warp % split;
  const u32 here = tiles - first < wanted ? u32(tiles - first) : wanted;
  const u64 row = (first + own) * 32 * per + part * 32 + lane;  // beyond n where there is no such tile
  const u64 at = (own < here ? own : 0) * bytes + lane * 4 + part * sizeof(Rank);
  const u8 *given = a.ranks + first * bytes;
  u32 *held = reinterpret_cast<u32 *>(shared);
  if (a.staged) {
    u8 *kept = shared + tree_bytes;
    for (u32 i = threadIdx.x; i < here * u32(bytes / 16); i += blockDim.x)
      reinterpret_cast<uint4 *>(kept)[i] = reinterpret_cast<const uint4 *>(given)[i];
    all_trees<Rank, Sum, Width, Tiled ? per : 1>(a, held, kept + at, row);
  } else {
    all_trees<Rank, Sum, Width, Tiled ? per : 1>(a, held, given + at, row);
  }
}

// ── few rows ──────────────────────────────────────────────────────────────────────────────────────────────────────

// Where the values of output k begin among those that are added for a row.
MW_DEVICE u32 values_of(const MwGiven &a, u32 k) { return a.wide ? k * a.trees : a.output_start[k]; }

// Adds the values of a tile of rows in the trees' order, through shared memory, and answers.
template <class Sum> MW_DEVICE void add_up(const MwGiven &a, Sum *held, const Sum *values, u64 first, u32 rows) {
  const u32 each = 1u << a.few, chunk = a.room / u32(sizeof(Sum)) / each, at_once = blockDim.x / each;
  const u32 r = threadIdx.x % each;
  for (u32 from = 0; from < a.outputs; from += at_once) {
    const u32 k = from + threadIdx.x / each, to = a.outputs - from < at_once ? a.outputs : from + at_once;
    const bool mine = k < to && r < rows;
    const u32 begins = mine ? values_of(a, k) : 0, ends = mine ? values_of(a, k + 1) : 0, end = values_of(a, to);
    Sum sum = mine ? begin<Sum>(a, k) : Sum(0);
    for (u32 c = values_of(a, from); c < end; c += chunk) {
      const u32 size = end - c < chunk ? end - c : chunk;
      __syncthreads();
      for (u32 i = threadIdx.x; i < size * each; i += blockDim.x) held[i] = values[u64(c) * each + i];
      __syncthreads();
      const u32 low = begins > c ? begins : c, high = ends < c + size ? ends : c + size;
      for (u32 s = low; s < high; s++) sum += held[(s - c) * each + r];
    }
    if (mine) static_cast<Sum *>(a.sums)[(first + r) * a.outputs + k] = sum;
  }
  __syncthreads();
  if (threadIdx.x < rows) finish<Sum>(a, first + threadIdx.x);
}

// Block (x, y): rows x · 2^few on, and the y-th share of the trees. A lane has a row and a tree.
template <class Rank, class Sum> MW_DEVICE void few(const MwGiven &a, u8 *shared, u32 &is_last) {
  const u32 each = 1u << a.few;
  const u64 first = u64(blockIdx.x) * each;
  const u32 rows = a.n - first < each ? u32(a.n - first) : each;
  Rank *ranks = reinterpret_cast<Rank *>(shared);
  for (u32 i = threadIdx.x; i < rows * a.features; i += blockDim.x) {
    const MwFeature f = a.feature[i % a.features];
    const u32 r = i / a.features;
    const float x = a.rows[(first + r) * a.stride + f.source];
    const bool none = missing(a, x);
    const u32 rank = passed(a, f, x);
    for (u32 c = f.first; c < f.last; c++)
      ranks[r * a.columns + c] = Rank(rank_in<Rank>(a, a.column[c], x, none, rank));
  }
  __syncthreads();
  const u32 from = u32(u64(a.trees) * blockIdx.y / gridDim.y), to = u32(u64(a.trees) * (blockIdx.y + 1) / gridDim.y);
  Sum *values = static_cast<Sum *>(a.values) + u64(blockIdx.x) * values_of(a, a.outputs) * each;
  for (u32 i = threadIdx.x; i < (to - from) * each; i += blockDim.x) {
    const u32 t = from + i / each, r = i % each;
    if (r >= rows) continue;
    const u32 *tree = a.tree + a.tree_at[t];
    const u8 *own = reinterpret_cast<const u8 *>(ranks + r * a.columns);
    const u32 header = tree[0], levels = header & 255u;
    u32 h = 1;
    for (u32 l = 0; l < levels; l++) h = below<Rank, sizeof(Rank)>(h, tree[h], own);
    if ((header & kValues) && a.kind != kLeaves) {
      values[u64(t) * each + r] = reinterpret_cast<const Sum *>(tree + (1u << levels))[h - (1u << levels)];
      continue;
    }
    const u32 leaf = leaf_of<Rank, sizeof(Rank)>(a, a.slot_target[a.tree_slot[t] + h - (1u << levels)], own);
    if (a.kind == kLeaves) {
      static_cast<int *>(a.out)[(first + r) * a.trees + a.tree_id[t]] = a.leaf_row[leaf];
      continue;
    }
    const Sum *value = static_cast<const Sum *>(a.leaf_value) + u64(leaf) * a.leaf_stride;
    for (u32 k = 0; k < (a.wide ? a.outputs : 1); k++) values[(u64(k) * a.trees + t) * each + r] = value[k];
  }
  if (a.kind == kLeaves) return;
  // The block that comes last adds: what the others wrote before they came is then seen by it.
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) is_last = atomicAdd(a.arrived + blockIdx.x, 1u) == gridDim.y - 1;
  __syncthreads();
  if (!is_last) return;
  __threadfence();
  add_up<Sum>(a, reinterpret_cast<Sum *>(shared), values, first, rows);
  if (threadIdx.x == 0) a.arrived[blockIdx.x] = 0;  // for the next call
}

// ── the kernels ───────────────────────────────────────────────────────────────────────────────────────────────────

constexpr u32 kTreeBytes = 16384;  // of shared memory for a group of trees

#define MW_RANKS(R, Rank)                                  \
  MW_KERNEL mw_rank_##R(MW_GIVEN MwGiven a) {              \
    MW_SHARED(shared);                                     \
    rank_tile<Rank>(a, reinterpret_cast<float *>(shared)); \
  }
#define MW_FINISH(S, Sum) \
  MW_KERNEL mw_finish_##S(MW_GIVEN MwGiven a) { finish_all<Sum>(a); }
#define MW_MANY(R, Rank, S, Sum, W, Width)                \
  MW_KERNEL mw_rows_##R##_##S##W(MW_GIVEN MwGiven a) {    \
    MW_SHARED(shared);                                    \
    many<Rank, Sum, Width, false>(a, shared, kTreeBytes); \
  }                                                       \
  MW_KERNEL mw_tiles_##R##_##S##W(MW_GIVEN MwGiven a) {   \
    MW_SHARED(shared);                                    \
    many<Rank, Sum, Width, true>(a, shared, kTreeBytes);  \
  }
#define MW_TREES(R, Rank, S, Sum)                  \
  MW_MANY(R, Rank, S, Sum, , 1)                    \
  MW_MANY(R, Rank, S, Sum, _wide, kWide)           \
  MW_KERNEL mw_few_##R##_##S(MW_GIVEN MwGiven a) { \
    MW_SHARED(shared);                             \
    MW_ONE(u32, is_last);                          \
    few<Rank, Sum>(a, shared, is_last);            \
  }

MW_RANKS(u8, u8)
MW_RANKS(u16, u16)
MW_FINISH(f32, float)
MW_FINISH(f64, double)
MW_TREES(u8, u8, f32, float)
MW_TREES(u8, u8, f64, double)
MW_TREES(u16, u16, f32, float)
MW_TREES(u16, u16, f64, double)
