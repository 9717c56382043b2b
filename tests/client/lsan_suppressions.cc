// For LeakSanitizer; has no effect without it. Fontconfig, which libvips asks for fonts, keeps its
// tables until the process ends and frees them only in FcFini, which nobody may call under Pango.
extern "C" const char* __lsan_default_suppressions();
extern "C" const char* __lsan_default_suppressions() { return "leak:libfontconfig\n"; }
