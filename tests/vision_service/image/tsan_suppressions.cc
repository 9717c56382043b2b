// Linked into programs that decode images under ThreadSanitizer: the packaged glib and libvips are
// not instrumented, so their own locks look like races. Our frames stay checked.
extern "C" const char* __tsan_default_suppressions() {
  return "called_from_lib:libvips.so\n"
         "called_from_lib:libglib-2.0.so\n"
         "called_from_lib:libgobject-2.0.so\n";
}
