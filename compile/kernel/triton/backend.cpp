// libtriton_millwork.so: forests served by Triton without Python in a request's way.
//
// A model's version folder holds forest.packed, for instances on CPUs; or forest.cuda, and its kernels in
// forest.fatbin, for instances on GPUs. config.pbtxt says `backend: "millwork"`, `default_model_filename` where it
// isn't forest.packed, and as parameters `threads` (CPU), `crossover` (CPU: rows from which on blocks are taken; GPU:
// rows up to which the small-batch plan is), `device` (which GPU where instances are KIND_MODEL) and, where labels are
// answered, `decision` and `cut` (passes/program.py). Tensors: input__0 FP32 [N, F], input__1 [N, C] where the model
// takes categories, output__0 FP32 [N, K].
#include <cstdio>
#include <exception>

#include "instance.h"

#define MW_ENTRY extern "C" __attribute__((visibility("default")))

namespace {

using namespace millwork;
using Error = TRITONSERVER_Error *;

#define MW_TRY(call)                              \
  do {                                            \
    if (Error mw_error = (call)) return mw_error; \
  } while (0)

// Entry points let no exception out.
template <class F> Error guarded(F &&call) {
  try {
    return call();
  } catch (const std::exception &error) {
    return TRITONSERVER_ErrorNew(kInternal, error.what());
  } catch (...) {
    return TRITONSERVER_ErrorNew(kInternal, "an unknown exception");
  }
}

Error model_config(TRITONBACKEND_Model *triton, Json &out) {
  TRITONSERVER_Message *message = nullptr;
  const char *base = nullptr;
  size_t size = 0;
  MW_TRY(TRITONBACKEND_ModelConfig(triton, 1, &message));
  Error error = TRITONSERVER_MessageSerializeToJson(message, &base, &size);
  if (!error && !Json::read(base, base + size, out))
    error = TRITONSERVER_ErrorNew(kInternal, "the configuration isn't JSON");
  drop(TRITONSERVER_MessageDelete(message));  // base is its memory
  return error;
}

void log_opened(const ServedModel &model, uint64_t version) {
  char line[512];
  const int length = std::snprintf(
      line, sizeof line, "millwork: %.200s version %llu: %u trees, %u features, %u categories, ", model.name.c_str(),
      static_cast<unsigned long long>(version), model.shape.trees, model.shape.features, model.shape.categories);
  if (model.on_gpu())
    std::snprintf(line + length, sizeof line - length, "for GPUs, up to %zu rows by the small-batch plan",
                  model.crossover);
  else
    std::snprintf(line + length, sizeof line - length, "%s, %d thread%s", mw_isa(model.handle), model.threads,
                  model.threads == 1 ? "" : "s");
  drop(TRITONSERVER_LogMessage(kLogInfo, "millwork", 0, line));
}

// An instance where its group says that it is, if the forest is one for that.
Error made(TRITONBACKEND_ModelInstance *triton, ServedModel &model, std::unique_ptr<Instance> &out) {
  int kind = 0, device = model.device;
  MW_TRY(TRITONBACKEND_ModelInstanceKind(triton, &kind));
  if (kind == kInstanceGpu) MW_TRY(TRITONBACKEND_ModelInstanceDeviceId(triton, &device));
  const bool fits = kind == kInstanceModel || (kind == kInstanceGpu) == model.on_gpu();
  if (!fits) {
    const char *why = model.on_gpu() ? "the forest is packed for GPUs: set instance_group.kind to KIND_GPU"
                                     : "the forest is packed for CPUs: set instance_group.kind to KIND_CPU";
    return to_triton({kUnsupported, "millwork: " + model.name + ": " + why});
  }
  try {
    out = model.on_gpu() ? gpu_instance(triton, model, device) : cpu_instance(triton, model);
    return nullptr;
  } catch (const cuda::CudaError &error) {
    return to_triton({kInternal, "millwork: " + model.name + ": " + error.what()});
  }
}

}  // namespace

MW_ENTRY Error TRITONBACKEND_Initialize(TRITONBACKEND_Backend *) {
  return guarded([&]() -> Error {
    uint32_t major = 0, minor = 0;
    MW_TRY(TRITONBACKEND_ApiVersion(&major, &minor));
    if (major == 1) return nullptr;
    return TRITONSERVER_ErrorNew(kUnsupported, "millwork's backend speaks version 1 of Triton's backend interface");
  });
}

MW_ENTRY Error TRITONBACKEND_ModelInitialize(TRITONBACKEND_Model *triton) {
  return guarded([&]() -> Error {
    const char *name = "", *location = "";
    uint64_t version = 0;
    int kind = 0;
    MW_TRY(TRITONBACKEND_ModelName(triton, &name));
    MW_TRY(TRITONBACKEND_ModelVersion(triton, &version));
    MW_TRY(TRITONBACKEND_ModelRepository(triton, &kind, &location));
    if (kind != kFileSystem) return TRITONSERVER_ErrorNew(kUnsupported, "the model's files aren't in a file system");
    Json config;
    MW_TRY(model_config(triton, config));
    auto model = std::make_unique<ServedModel>();
    model->name = name;
    if (const Wrong wrong = model->open(config, std::string(location) + "/" + std::to_string(version)))
      return to_triton({wrong.code, "millwork: " + model->name + ": " + wrong.what});
    log_opened(*model, version);
    MW_TRY(TRITONBACKEND_ModelSetState(triton, model.get()));
    model.release();
    return nullptr;
  });
}

MW_ENTRY Error TRITONBACKEND_ModelFinalize(TRITONBACKEND_Model *triton) {
  void *state = nullptr;
  MW_TRY(TRITONBACKEND_ModelState(triton, &state));
  delete static_cast<ServedModel *>(state);
  return nullptr;
}

MW_ENTRY Error TRITONBACKEND_ModelInstanceInitialize(TRITONBACKEND_ModelInstance *triton) {
  return guarded([&]() -> Error {
    TRITONBACKEND_Model *model = nullptr;
    void *state = nullptr;
    MW_TRY(TRITONBACKEND_ModelInstanceModel(triton, &model));
    MW_TRY(TRITONBACKEND_ModelState(model, &state));
    std::unique_ptr<Instance> instance;
    MW_TRY(made(triton, *static_cast<ServedModel *>(state), instance));
    MW_TRY(TRITONBACKEND_ModelInstanceSetState(triton, instance.get()));
    instance.release();
    return nullptr;
  });
}

MW_ENTRY Error TRITONBACKEND_ModelInstanceFinalize(TRITONBACKEND_ModelInstance *triton) {
  void *state = nullptr;
  MW_TRY(TRITONBACKEND_ModelInstanceState(triton, &state));
  delete static_cast<Instance *>(state);
  return nullptr;
}

// Never twice at a time for one instance. Once it has begun to answer it returns no error: Triton would take the
// requests back.
MW_ENTRY Error TRITONBACKEND_ModelInstanceExecute(TRITONBACKEND_ModelInstance *triton, TRITONBACKEND_Request **requests,
                                                  uint32_t count) {
  return guarded([&]() -> Error {
    void *state = nullptr;
    MW_TRY(TRITONBACKEND_ModelInstanceState(triton, &state));
    static_cast<Instance *>(state)->execute(requests, count);
    return nullptr;
  });
}
