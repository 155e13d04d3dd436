// Mutations of packed forests, through every function that reads them: an error code or answers, nothing else.
//
//     fuzz FOLDER MUTATIONS SEED
//
// Built with sanitizers by `make test-native`, so that a read or write out of bounds, an overflow or a leak ends it.
// The files are as tests/native/corpus.py wrote them. Prints how often each code came.
#include <dirent.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "millwork.h"
#include "packed.h"

namespace {

using Bytes = std::vector<uint8_t>;
std::mt19937_64 random_bits;

size_t below(size_t n) { return n ? size_t(random_bits() % n) : 0; }

std::vector<Bytes> corpus(const char *folder) {
  std::vector<std::string> names;
  DIR *open = opendir(folder);
  if (!open) return {};
  while (const dirent *entry = readdir(open))
    if (std::strstr(entry->d_name, ".packed")) names.push_back(std::string(folder) + "/" + entry->d_name);
  closedir(open);
  std::sort(names.begin(), names.end());
  std::vector<Bytes> found;
  for (const auto &name : names) {
    std::ifstream file(name, std::ios::binary);
    found.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  return found;
}

template <class T> void put(Bytes &bytes, size_t at, T value) {
  if (at + sizeof value <= bytes.size()) std::memcpy(bytes.data() + at, &value, sizeof value);
}

uint32_t telling() {
  static const uint32_t values[] = {0,     1,     2,          127,        128,        255,        256,
                                    65535, 65536, 0x7fffffff, 0x80000000, 0xffffffff, 0x7f800000, 0x7fc00000};
  return values[below(sizeof values / sizeof *values)];
}

// A file changed in one of several ways; most get a size and a checksum that are right again, so that what lies behind
// those is reached.
Bytes mutated(const std::vector<Bytes> &files) {
  Bytes out = files[below(files.size())];
  for (size_t i = 1 + below(5); i-- > 0;) {
    const size_t at = below(2) ? below(out.size()) : below(std::min<size_t>(out.size(), 128 + 32 * 33));
    switch (below(6)) {
      case 0: out[at] = uint8_t(random_bits()); break;
      case 1: out[at] ^= uint8_t(1u << below(8)); break;
      case 2: put(out, at / 4 * 4, telling()); break;
      case 3: put(out, at / 8 * 8, uint64_t(random_bits() >> below(64))); break;
      case 4: {  // a piece of another file
        const Bytes &other = files[below(files.size())];
        const size_t n = std::min({below(64), other.size() - 1, out.size() - at}), from = below(other.size() - n);
        std::memcpy(out.data() + at, other.data() + from, n);
        break;
      }
      default: {
        uint32_t value;
        std::memcpy(&value, out.data() + at / 4 * 4, sizeof value);
        put(out, at / 4 * 4, value + uint32_t(below(5)) - 2);
      }
    }
  }
  if (below(20) == 0) out.resize(below(out.size()) + 1);
  if (below(20) == 0) out.resize(out.size() + below(200));
  if (below(10)) {
    put(out, 16, uint64_t(out.size()));
    std::memcpy(out.data(), "MILLWORK", std::min<size_t>(8, out.size()));
    put(out, 8, millwork::kVersion);
    if (out.size() > 16) put(out, 12, millwork::crc32(out.data() + 16, out.size() - 16));
  }
  return out;
}

float number() {
  static const float values[] = {0.0f, -0.0f, 1.5f, -3.0f, 1e-44f, 3.4e38f, 0.1f, -999.0f, 70.0f, 1e9f};
  switch (below(4)) {
    case 0: return std::strtof("nan", nullptr);
    case 1: return float(below(80));
    case 2: return values[below(10)];
    default: {
      const uint32_t bits = uint32_t(random_bits());
      float value;
      std::memcpy(&value, &bits, sizeof value);
      return value;
    }
  }
}

Bytes categories(const mw_shape &shape, size_t n) {
  Bytes out;
  for (size_t i = 0; i < n * shape.categories; i++) {
    if (shape.integers) {
      const int64_t value = int64_t(random_bits() >> below(64));
      out.insert(out.end(), reinterpret_cast<const uint8_t *>(&value), reinterpret_cast<const uint8_t *>(&value) + 8);
    } else {
      const uint32_t length = uint32_t(below(9));
      out.insert(out.end(), reinterpret_cast<const uint8_t *>(&length), reinterpret_cast<const uint8_t *>(&length) + 4);
      for (uint32_t c = 0; c < length; c++) out.push_back(uint8_t("abcdefgh"[below(8)]));
    }
  }
  if (below(8) == 0 && !out.empty()) out[below(out.size())] = uint8_t(random_bits());
  if (below(16) == 0) out.resize(below(out.size() + 1));
  return out;
}

void ask(mw_model *model) {
  mw_shape shape;
  if (mw_describe(model, &shape) != MW_OK) std::abort();
  const bool shared = shape.trees >= 300 && below(4);  // threads share the trees of so many rows, one by one
  const size_t n = shared ? 64 - below(8) : below(3) ? below(4) : below(140);
  const int threads = shared || below(8) == 0 ? 2 + int(below(2)) : 1;
  const int kind = int(below(shared ? 2 : 3)), plan = shared ? MW_PLAN_ROWS : int(below(3));
  const size_t width = kind == MW_ANSWERS ? shape.answers : kind == MW_MARGINS ? shape.outputs : shape.trees;
  if (shape.features > 4096 || shape.categories > 64 || width > 65536 || size_t(shape.trees) * n > 100000) return;
  // Exactly as large as they may be: one byte more that is read or written is an error of the sanitizer's.
  std::unique_ptr<float[]> rows(new float[n * shape.features]);
  for (size_t i = 0; i < n * shape.features; i++) rows[i] = number();
  const Bytes given = categories(shape, n);
  std::unique_ptr<uint8_t[]> texts(new uint8_t[given.size()]);
  std::copy(given.begin(), given.end(), texts.get());
  std::unique_ptr<double[]> out(new double[(n * width * (kind == MW_MARGINS ? 8 : 4) + 7) / 8]);
  mw_predict(model, kind, plan, threads, rows.get(), n, shape.features, shape.categories ? texts.get() : nullptr,
             shape.categories ? given.size() : 0, out.get());
}

}  // namespace

int main(int count, char **words) {
  if (count != 4) return 2;
  const std::vector<Bytes> files = corpus(words[1]);
  if (files.empty()) return std::fprintf(stderr, "%s: no packed files\n", words[1]), 2;
  random_bits.seed(std::strtoull(words[3], nullptr, 10));
  const char *isas[] = {nullptr, "avx512", "avx2", "portable"};
  size_t codes[16] = {};
  for (size_t i = std::strtoull(words[2], nullptr, 10); i-- > 0;) {
    const Bytes bytes = mutated(files);
    std::unique_ptr<uint64_t[]> held(new uint64_t[(bytes.size() + 7) / 8]);
    std::memcpy(held.get(), bytes.data(), bytes.size());
    mw_model *model = nullptr;
    const int code = mw_open_bytes(held.get(), bytes.size(), isas[below(4)], &model);
    if (code < 0 || code > MW_CATEGORIES || (code == MW_OK) != (model != nullptr)) std::abort();
    codes[code]++;
    held.reset();  // the model has its own
    if (model) ask(model);
    mw_close(model);
  }
  for (int code = 0; code <= MW_CATEGORIES; code++)
    if (codes[code]) std::printf("%10zu  %s\n", codes[code], mw_message(code));
  return codes[MW_OK] && codes[MW_CORRUPT] ? 0 : 1;  // else the mutations reach nothing
}
