// A PJRT plugin and its device: loading, options, buffers to the device and back. Included by funcnet.cpp alone.
#ifndef FUNCNET_DEVICE_HPP_
#define FUNCNET_DEVICE_HPP_

#include <dlfcn.h>

#include <deque>
#include <memory>
#include <mutex>

#include "basics.hpp"
#include "third_party/pjrt_c_api.h"

namespace {

const PJRT_Buffer_Type PJRT_TYPES[] = {
    // in the order of fn_dtype
    PJRT_Buffer_Type_INVALID,    PJRT_Buffer_Type_PRED,       PJRT_Buffer_Type_S8,        PJRT_Buffer_Type_S16,
    PJRT_Buffer_Type_S32,        PJRT_Buffer_Type_S64,        PJRT_Buffer_Type_U8,        PJRT_Buffer_Type_U16,
    PJRT_Buffer_Type_U32,        PJRT_Buffer_Type_U64,        PJRT_Buffer_Type_F16,       PJRT_Buffer_Type_BF16,
    PJRT_Buffer_Type_F32,        PJRT_Buffer_Type_F64,        PJRT_Buffer_Type_F8E4M3FN,  PJRT_Buffer_Type_F8E5M2,
    PJRT_Buffer_Type_F8E4M3FNUZ, PJRT_Buffer_Type_F8E5M2FNUZ, PJRT_Buffer_Type_F8E8M0FNU, PJRT_Buffer_Type_C64};

#define FN_ARGS(name, kind) \
  kind##_Args name{};       \
  name.struct_size = kind##_Args_STRUCT_SIZE

struct Plugin {
  const PJRT_Api* api = nullptr;

  void check(PJRT_Error* error, fn_code code, const char* doing) const {
    if (!error) return;
    FN_ARGS(message, PJRT_Error_Message);
    message.error = error;
    api->PJRT_Error_Message(&message);
    string text(message.message, message.message_size);
    drop(error);
    fail(code, "%s: the plugin says: %s", doing, text.c_str());
  }
  void drop(PJRT_Error* error) const {
    FN_ARGS(destroy, PJRT_Error_Destroy);
    destroy.error = error;
    if (error) api->PJRT_Error_Destroy(&destroy);
  }
  PJRT_Error* wait(PJRT_Event* event) const {
    if (!event) return nullptr;
    FN_ARGS(await, PJRT_Event_Await);
    await.event = event;
    PJRT_Error* error = api->PJRT_Event_Await(&await);
    FN_ARGS(destroy, PJRT_Event_Destroy);
    destroy.event = event;
    drop(api->PJRT_Event_Destroy(&destroy));
    return error;
  }
};

Plugin load_plugin(const char* path) {
  static std::mutex mutex;
  static std::map<void*, Plugin> loaded;
  std::lock_guard<std::mutex> lock(mutex);
  // never unloaded: XLA starts threads that cannot be stopped. RTLD_LOCAL keeps the symbols of two plugins apart
  void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!library) fail(FN_PLUGIN, "the plugin cannot be loaded: %s", dlerror());
  Plugin& plugin = loaded[library];
  if (plugin.api) return plugin;
  auto get = reinterpret_cast<const PJRT_Api* (*)()>(dlsym(library, "GetPjrtApi"));
  if (!get) fail(FN_PLUGIN, "'%s' is no PJRT plugin: it has no GetPjrtApi (jaxlib's own libraries have none)", path);
  const PJRT_Api* api = get();
  // functions were added at the end of the table only, so a plugin that has the last one that is used here has all
  if (!api || api->pjrt_api_version.major_version != PJRT_API_MAJOR ||
      api->struct_size < offsetof(PJRT_Api, PJRT_Executable_OutputDimensions) + sizeof(void*))
    fail(FN_PLUGIN, "'%s' speaks another version of PJRT than 0.x, or a very old one", path);
  Plugin made{api};
  FN_ARGS(initialize, PJRT_Plugin_Initialize);
  made.check(api->PJRT_Plugin_Initialize(&initialize), FN_PLUGIN, "starting the plugin");
  return plugin = made;
}

struct Options {  // "a=1,b=true,c=[0;1]" as the client takes it
  std::vector<PJRT_NamedValue> values;
  std::deque<string> texts;
  std::deque<Shape> lists;

  explicit Options(Bytes text) {
    while (!text.empty()) {
      Bytes option = text.substr(0, text.find(','));
      text.remove_prefix(std::min(text.size(), option.size() + 1));
      size_t equals = option.find('=');
      if (equals == Bytes::npos || equals == 0) fail(FN_ARGUMENT, "options are written 'name=value,name=value'");
      add(texts.emplace_back(option.substr(0, equals)), texts.emplace_back(option.substr(equals + 1)));
    }
  }
  void add(const string& name, const string& text) {
    PJRT_NamedValue value{};
    value.struct_size = PJRT_NamedValue_STRUCT_SIZE;
    value.name = name.c_str(), value.name_size = name.size(), value.value_size = 1;
    bool digits = !text.empty() && text.find_first_not_of("-0123456789.") == string::npos;
    if (text == "true" || text == "false") {
      value.type = PJRT_NamedValue_kBool, value.bool_value = text == "true";
    } else if (digits && text.find('.') != string::npos) {
      value.type = PJRT_NamedValue_kFloat, value.float_value = std::strtof(text.c_str(), nullptr);
    } else if (digits) {
      value.type = PJRT_NamedValue_kInt64, value.int64_value = std::strtoll(text.c_str(), nullptr, 10);
    } else if (!text.empty() && text[0] == '[') {
      Shape& list = lists.emplace_back();
      for (const char* at = text.c_str(); *at && *at != ']';) {
        char* next = nullptr;
        list.push_back(std::strtoll(at + 1, &next, 10));
        at = next;
        if (*at != ';' && *at != ']') fail(FN_ARGUMENT, "a list in options is written '[0;1]'");
      }
      value.type = PJRT_NamedValue_kInt64List, value.int64_array_value = list.data(), value.value_size = list.size();
    } else {
      value.type = PJRT_NamedValue_kString, value.string_value = text.c_str(), value.value_size = text.size();
    }
    values.push_back(value);
  }
};

struct Device : Plugin {
  PJRT_Client* client = nullptr;
  PJRT_Device* device = nullptr;
  string platform, version;

  Device(const char* path, const char* options) : Plugin(load_plugin(path)) {
    // XLA's CPU plugins pretend to have four devices, and share the work out among four threads however few cores there
    // are: up to 1.7 times slower. Other plugins do not know this option, and are asked again without it
    string asked = options ? options : "", alone = asked + (asked.empty() ? "" : ",") + "cpu_device_count=1";
    if (asked.find("cpu_device_count=") == string::npos) drop(create(alone));
    if (!client) check(create(asked), FN_PLUGIN, "opening the device");
    try {
      FN_ARGS(devices, PJRT_Client_AddressableDevices);
      devices.client = client;
      check(api->PJRT_Client_AddressableDevices(&devices), FN_PLUGIN, "listing devices");
      if (devices.num_addressable_devices == 0) fail(FN_PLUGIN, "the plugin '%s' has no device here", path);
      device = devices.addressable_devices[0];
      FN_ARGS(name, PJRT_Client_PlatformName);
      name.client = client;
      check(api->PJRT_Client_PlatformName(&name), FN_PLUGIN, "asking for the platform");
      platform.assign(name.platform_name, name.platform_name_size);
      FN_ARGS(about, PJRT_Client_PlatformVersion);
      about.client = client;
      check(api->PJRT_Client_PlatformVersion(&about), FN_PLUGIN, "asking for the version");
      version.assign(about.platform_version, about.platform_version_size);
    } catch (...) {
      destroy();
      throw;
    }
  }
  Device(const Device&) = delete;
  PJRT_Error* create(const string& options) {
    Options given(options);
    FN_ARGS(args, PJRT_Client_Create);
    args.create_options = given.values.data();
    args.num_options = given.values.size();
    PJRT_Error* error = api->PJRT_Client_Create(&args);
    client = error ? nullptr : args.client;
    return error;
  }
  ~Device() { destroy(); }
  void destroy() {
    FN_ARGS(args, PJRT_Client_Destroy);
    args.client = client;
    drop(api->PJRT_Client_Destroy(&args));
  }
};

struct FreeBuffer {
  Plugin plugin;
  void operator()(PJRT_Buffer* buffer) const {
    FN_ARGS(destroy, PJRT_Buffer_Destroy);
    destroy.buffer = buffer;
    plugin.drop(plugin.api->PJRT_Buffer_Destroy(&destroy));
  }
};
using Buffer = std::unique_ptr<PJRT_Buffer, FreeBuffer>;

struct Sent {  // an array on its way to the device; the host's memory is needed until `done`
  Buffer buffer;
  PJRT_Event* done = nullptr;
};

Sent send(const Device& device, fn_dtype dtype, const Shape& shape, const void* data,
          PJRT_HostBufferSemantics semantics) {
  alignas(64) static const char nothing[64] = "";
  FN_ARGS(args, PJRT_Client_BufferFromHostBuffer);
  args.client = device.client;
  args.data = data ? data : nothing;
  args.type = PJRT_TYPES[dtype];
  args.dims = shape.data();
  args.num_dims = shape.size();
  args.host_buffer_semantics = semantics;
  args.device = device.device;
  device.check(device.api->PJRT_Client_BufferFromHostBuffer(&args), FN_EXECUTE, "copying an array to the device");
  return {Buffer(args.buffer, {device}), args.done_with_host_buffer};
}

// Lends the caller's memory to the device for as long as a call takes: on CPUs nothing is copied.
struct Lent {
  const Device& device;
  Sent sent;
  Lent(const Device& device_, fn_dtype dtype, const Shape& shape, const void* data)
      : device(device_), sent(send(device_, dtype, shape, data, PJRT_HostBufferSemantics_kImmutableZeroCopy)) {}
  Lent(const Lent&) = delete;
  ~Lent() {
    sent.buffer.reset();  // only then does the plugin say that it is done
    device.drop(device.wait(sent.done));
  }
};

struct Free {
  void operator()(void* data) const { std::free(data); }
};
using Memory = std::unique_ptr<void, Free>;

// Copies a buffer into the array's own memory, or into new memory, which is returned.
Memory receive(const Device& device, PJRT_Buffer* buffer, const fn_array& array, fn_dtype dtype, const Shape& shape) {
  size_t bytes = bytes_of(dtype, shape);
  Memory made(array.data ? nullptr
                         : std::aligned_alloc(64, (bytes + 64) / 64 * 64));  // aligned, so that it can be lent
  void* target = array.data ? array.data : made.get();
  if (!target) throw std::bad_alloc();
  if (bytes == 0) return made;
  Shape order(shape.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = int64_t(order.size() - 1 - i);
  PJRT_Buffer_MemoryLayout dense{};  // whatever the device's own order is
  dense.struct_size = PJRT_Buffer_MemoryLayout_STRUCT_SIZE;
  dense.type = PJRT_Buffer_MemoryLayout_Type_Tiled;
  dense.tiled.struct_size = PJRT_Buffer_MemoryLayout_Tiled_STRUCT_SIZE;
  dense.tiled.minor_to_major = order.data(), dense.tiled.minor_to_major_size = order.size();
  FN_ARGS(copy, PJRT_Buffer_ToHostBuffer);
  copy.src = buffer;
  copy.host_layout = &dense;
  copy.dst = target, copy.dst_size = bytes;
  device.check(device.api->PJRT_Buffer_ToHostBuffer(&copy), FN_EXECUTE, "copying an output from the device");
  device.check(device.wait(copy.event), FN_EXECUTE, "copying an output from the device");
  return made;
}

}  // namespace

#endif  // FUNCNET_DEVICE_HPP_
