/* libmillwork_kernel: a packed forest's answers on a CPU. The C interface.
 *
 * Every function that returns int returns MW_OK or an error code of below, with nothing else changed. No function
 * throws, prints or exits. A model may be used by several threads at once; mw_close only after the last call is over.
 */
#ifndef MILLWORK_H
#define MILLWORK_H
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MW_API __attribute__((visibility("default")))
#define MW_INTERFACE 2 /* of this header; mw_interface() gives the library's */

enum {
  MW_OK = 0,
  MW_NULL = 1,       /* a pointer is missing */
  MW_UNALIGNED = 2,  /* rows or answers don't lie at a multiple of 4 (8: doubles, integers) bytes */
  MW_SIZE = 3,       /* a size doesn't fit the model, or is too large */
  MW_NO_FILE = 4,    /* the file can't be opened or read */
  MW_NOT_PACKED = 5, /* no packed forest, or of another version */
  MW_TRUNCATED = 6,  /* shorter or longer than it says */
  MW_CHECKSUM = 7,   /* changed after it was written */
  MW_CORRUPT = 8,    /* a value lies outside its range */
  MW_MEMORY = 9,     /* not enough memory */
  MW_ISA = 10,       /* the forced instruction set isn't known, or this CPU lacks it */
  MW_CATEGORIES = 11 /* categories are missing, malformed, or given where the model takes none */
};

enum { MW_PLAN_AUTO = 0, MW_PLAN_ROWS = 1, MW_PLAN_BLOCKS = 2 };
enum { MW_ANSWERS = 0, MW_MARGINS = 1, MW_LEAVES = 2 }; /* float [n, K'], double [n, K], int32 [n, T] */

typedef struct mw_model mw_model;

typedef struct {
  uint32_t features;   /* F: floats of a row */
  uint32_t categories; /* C: category values of a row */
  uint32_t integers;   /* 1 where categories are int64, 0 where they are strings */
  uint32_t answers;    /* K' of the answers */
  uint32_t outputs;    /* K of the margins */
  uint32_t trees;      /* T */
  uint32_t nodes;      /* M */
  uint32_t crossover;  /* from so many rows on, blocks are taken; 0: nobody said, and a fixed number is used */
} mw_shape;

MW_API uint32_t mw_interface(void);
MW_API const char *mw_message(int code); /* one sentence, static */

/* The model in a packed file. isa: "avx512", "avx2", "portable", or NULL: the best that this CPU has. */
MW_API int mw_open(const char *path, const char *isa, mw_model **model);
/* The same from memory, which is read here only and may be freed afterwards. */
MW_API int mw_open_bytes(const void *bytes, size_t size, const char *isa, mw_model **model);
MW_API void mw_close(mw_model *model);
/* From so many rows on, blocks are faster than rows, as it was timed somewhere; 0: not known. Before the first call. */
MW_API void mw_set_crossover(mw_model *model, uint32_t rows);
MW_API int mw_describe(const mw_model *model, mw_shape *shape);
MW_API const char *mw_isa(const mw_model *model); /* the instruction set in use */

/* n rows, each of F floats, the next one `stride` floats on. categories: NULL where the model takes none; else C values
 * a row, row after row: int64, or each string as its length (uint32, little-endian) and its bytes.
 * kind: MW_ANSWERS, … says what `out` takes. threads: at most so many work on the call, 1: the caller alone. */
MW_API int mw_predict(const mw_model *model, int kind, int plan, int threads, const float *rows, size_t n,
                      size_t stride, const void *categories, size_t category_bytes, void *out);

#ifdef __cplusplus
}
#endif
#endif
