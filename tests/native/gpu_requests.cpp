// The part of a Triton server that a machine without a GPU can't be asked for: requests whose rows lie in a GPU's
// memory, or whose answers are wanted there. The server's functions that the backend calls, for one model, one instance
// and the requests of one call; tests/validators/test_millwork_on_gpu.py asks. Everything else is tested on a real
// server.
#include <dlfcn.h>

#include <cstring>
#include <string>
#include <vector>

#include "triton/triton.h"

// One request, as the test has it: `pieces` of the rows, each in the memory `in`; an answer in `out_memory`.
struct Asked {
  const void **pieces;
  const uint64_t *sizes;
  uint32_t n_pieces;
  int in_memory;
  int64_t in_device;
  int64_t rows, features;
  void *out;
  int out_memory;
  int64_t out_device;
  char error[256];
  int sent, released, success;
};

struct TRITONSERVER_Error {
  int code;
  std::string what;
};
struct TRITONSERVER_Message {};
struct TRITONBACKEND_Model {
  std::string config, location;
  void *state = nullptr;
};
struct TRITONBACKEND_ModelInstance {
  TRITONBACKEND_Model *model;
  int kind, device;
  void *state = nullptr;
};
struct TRITONBACKEND_Input {
  const Asked *asked;
  int64_t shape[2];
};
struct TRITONBACKEND_Request {
  Asked *asked;
  TRITONBACKEND_Input input;
};
struct TRITONBACKEND_Response {
  Asked *asked;
};

namespace {
TRITONBACKEND_Model *opened;  // whose configuration is asked for
}

#define HERE extern "C" __attribute__((visibility("default")))
using Error = TRITONSERVER_Error *;

HERE Error TRITONSERVER_ErrorNew(int code, const char *message) { return new TRITONSERVER_Error{code, message}; }
HERE void TRITONSERVER_ErrorDelete(Error error) { delete error; }
HERE Error TRITONSERVER_LogMessage(int, const char *, int, const char *) { return nullptr; }
HERE Error TRITONSERVER_MessageSerializeToJson(TRITONSERVER_Message *, const char **base, size_t *size) {
  return *base = opened->config.data(), *size = opened->config.size(), nullptr;
}
HERE Error TRITONSERVER_MessageDelete(TRITONSERVER_Message *) { return nullptr; }
HERE Error TRITONBACKEND_ApiVersion(uint32_t *major, uint32_t *minor) { return *major = 1, *minor = 0, nullptr; }
HERE Error TRITONBACKEND_ModelName(TRITONBACKEND_Model *, const char **name) { return *name = "forest", nullptr; }
HERE Error TRITONBACKEND_ModelVersion(TRITONBACKEND_Model *, uint64_t *version) { return *version = 1, nullptr; }
HERE Error TRITONBACKEND_ModelRepository(TRITONBACKEND_Model *model, int *kind, const char **location) {
  return *kind = kFileSystem, *location = model->location.c_str(), nullptr;
}
HERE Error TRITONBACKEND_ModelConfig(TRITONBACKEND_Model *model, uint32_t, TRITONSERVER_Message **) {
  return opened = model, nullptr;
}
HERE Error TRITONBACKEND_ModelState(TRITONBACKEND_Model *model, void **state) { return *state = model->state, nullptr; }
HERE Error TRITONBACKEND_ModelSetState(TRITONBACKEND_Model *model, void *state) {
  return model->state = state, nullptr;
}
HERE Error TRITONBACKEND_ModelInstanceKind(TRITONBACKEND_ModelInstance *own, int *kind) {
  return *kind = own->kind, nullptr;
}
HERE Error TRITONBACKEND_ModelInstanceDeviceId(TRITONBACKEND_ModelInstance *own, int32_t *device) {
  return *device = own->device, nullptr;
}
HERE Error TRITONBACKEND_ModelInstanceModel(TRITONBACKEND_ModelInstance *own, TRITONBACKEND_Model **model) {
  return *model = own->model, nullptr;
}
HERE Error TRITONBACKEND_ModelInstanceState(TRITONBACKEND_ModelInstance *own, void **state) {
  return *state = own->state, nullptr;
}
HERE Error TRITONBACKEND_ModelInstanceSetState(TRITONBACKEND_ModelInstance *own, void *state) {
  return own->state = state, nullptr;
}
HERE Error TRITONBACKEND_ModelInstanceReportStatistics(TRITONBACKEND_ModelInstance *, TRITONBACKEND_Request *request,
                                                       bool success, uint64_t, uint64_t, uint64_t, uint64_t) {
  return request->asked->success = success, nullptr;
}
HERE Error TRITONBACKEND_ModelInstanceReportBatchStatistics(TRITONBACKEND_ModelInstance *, uint64_t, uint64_t, uint64_t,
                                                            uint64_t, uint64_t) {
  return nullptr;
}
HERE Error TRITONBACKEND_RequestInput(TRITONBACKEND_Request *request, const char *name, TRITONBACKEND_Input **input) {
  if (std::strcmp(name, "input__0")) return TRITONSERVER_ErrorNew(kInvalidArgument, "no such input");
  return *input = &request->input, nullptr;
}
HERE Error TRITONBACKEND_RequestOutputCount(TRITONBACKEND_Request *, uint32_t *count) { return *count = 1, nullptr; }
HERE Error TRITONBACKEND_RequestOutputName(TRITONBACKEND_Request *, uint32_t, const char **name) {
  return *name = "output__0", nullptr;
}
HERE Error TRITONBACKEND_RequestRelease(TRITONBACKEND_Request *request, uint32_t) {
  return request->asked->released++, nullptr;
}
HERE Error TRITONBACKEND_RequestIsCancelled(TRITONBACKEND_Request *, bool *is) { return *is = false, nullptr; }
HERE Error TRITONBACKEND_InputProperties(TRITONBACKEND_Input *input, const char **, int *type, const int64_t **shape,
                                         uint32_t *dims, uint64_t *bytes, uint32_t *buffers) {
  *type = kFp32, *shape = input->shape, *dims = 2, *buffers = input->asked->n_pieces, *bytes = 0;
  for (uint32_t i = 0; i < input->asked->n_pieces; i++) *bytes += input->asked->sizes[i];
  return nullptr;
}
HERE Error TRITONBACKEND_InputBuffer(TRITONBACKEND_Input *input, uint32_t number, const void **buffer, uint64_t *bytes,
                                     int *memory, int64_t *device) {
  const Asked &asked = *input->asked;
  return *buffer = asked.pieces[number], *bytes = asked.sizes[number], *memory = asked.in_memory,
         *device = asked.in_device, nullptr;
}
HERE Error TRITONBACKEND_ResponseNew(TRITONBACKEND_Response **response, TRITONBACKEND_Request *request) {
  return *response = new TRITONBACKEND_Response{request->asked}, nullptr;
}
HERE Error TRITONBACKEND_ResponseOutput(TRITONBACKEND_Response *response, TRITONBACKEND_Output **output, const char *,
                                        int, const int64_t *, uint32_t) {
  return *output = reinterpret_cast<TRITONBACKEND_Output *>(response->asked), nullptr;
}
HERE Error TRITONBACKEND_OutputBuffer(TRITONBACKEND_Output *output, void **buffer, uint64_t, int *memory,
                                      int64_t *device) {
  const Asked &asked = *reinterpret_cast<Asked *>(output);
  return *buffer = asked.out, *memory = asked.out_memory, *device = asked.out_device, nullptr;
}
HERE Error TRITONBACKEND_ResponseSend(TRITONBACKEND_Response *response, uint32_t, Error error) {
  if (error) std::strncpy(response->asked->error, error->what.c_str(), sizeof response->asked->error - 1);
  response->asked->sent++;
  delete response;
  return nullptr;
}

// ── for the test ──────────────────────────────────────────────────────────────────────────────────────────────────

namespace {
template <class... As> Error call(const char *name, As... given) {
  return reinterpret_cast<Error (*)(As...)>(dlsym(RTLD_DEFAULT, name))(given...);
}
// Whether it went well; what is wrong goes to `error` [256].
bool well(Error given, char *error) {
  if (given) std::strncpy(error, given->what.c_str(), 255);
  delete given;
  return !given;
}
}  // namespace

HERE TRITONBACKEND_ModelInstance *open_instance(const char *config, const char *location, int kind, int device,
                                                char *error) {
  auto *model = new TRITONBACKEND_Model{config, location};
  auto *own = new TRITONBACKEND_ModelInstance{model, kind, device};
  if (!well(call("TRITONBACKEND_ModelInitialize", model), error)) return nullptr;
  if (well(call("TRITONBACKEND_ModelInstanceInitialize", own), error)) return own;
  call("TRITONBACKEND_ModelFinalize", model);
  return nullptr;
}

HERE void ask(TRITONBACKEND_ModelInstance *own, Asked *asked, uint32_t count) {
  std::vector<TRITONBACKEND_Request> requests;
  std::vector<TRITONBACKEND_Request *> given;
  for (uint32_t i = 0; i < count; i++) requests.push_back({asked + i, {asked + i, {asked[i].rows, asked[i].features}}});
  for (auto &one : requests) given.push_back(&one);
  well(call("TRITONBACKEND_ModelInstanceExecute", own, given.data(), count), asked[0].error);
}

HERE void close_instance(TRITONBACKEND_ModelInstance *own) {
  call("TRITONBACKEND_ModelInstanceFinalize", own);
  call("TRITONBACKEND_ModelFinalize", own->model);
  delete own->model;
  delete own;
}
