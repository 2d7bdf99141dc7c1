// The folder where MLX keeps the kernels that it compiles for the CPU. MLX calls
// `std::filesystem::temp_directory_path()` whenever it has a kernel to load; this library interposes
// that function, and returns the standard library's result to all other callers. So no file that
// other users of the machine left in /tmp is loaded, and TMPDIR stays as it is for the programs that
// this process starts.

#include <dlfcn.h>

#include <atomic>
#include <cstring>
#include <filesystem>
#include <mutex>
#include <string>

namespace {

std::mutex mutex;
std::string folder;
std::atomic<int> asked{0};

bool is_mlx(const void *caller) {
    Dl_info info;
    if (!dladdr(caller, &info) || info.dli_fname == nullptr) return false;
    const char *slash = std::strrchr(info.dli_fname, '/');
    const char *name = slash == nullptr ? info.dli_fname : slash + 1;
    return std::strncmp(name, "libmlx", 6) == 0;
}

using Path = std::filesystem::path;

Path of_library() {
    static const auto theirs = reinterpret_cast<Path (*)()>(
        dlsym(RTLD_NEXT, "_ZNSt10filesystem19temp_directory_pathB5cxx11Ev"));
    return theirs == nullptr ? Path("/tmp") : theirs();
}

}  // namespace

// Have MLX use a folder; "" for the standard library's.
extern "C" __attribute__((visibility("default"))) void mlx_use_folder(const char *path) {
    const std::lock_guard<std::mutex> lock(mutex);
    folder = path;
}

// How often MLX has asked.
extern "C" __attribute__((visibility("default"))) int mlx_asked() { return asked; }

namespace std::filesystem {

__attribute__((visibility("default"), noinline)) path temp_directory_path() {
    if (is_mlx(__builtin_return_address(0))) {
        ++asked;
        const std::lock_guard<std::mutex> lock(mutex);
        if (!folder.empty()) return path(folder);
    }
    return of_library();
}

}  // namespace std::filesystem
