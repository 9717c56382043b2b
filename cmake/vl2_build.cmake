# Settings every target shares, and the three functions that declare targets:
#   vl2_library(NAME SRCS ... DEPS ...)            static library vl2_NAME
#   vl2_program(NAME SRCS ... DEPS ...)            executable in build/<preset>/bin
#   vl2_test(NAME SRCS ... DEPS ... LABEL unit)    GoogleTest executable, one CTest entry
# VL2_SANITIZER (address, thread, undefined) and VL2_ASSERTIONS come from the presets.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)

set(VL2_SANITIZER "" CACHE STRING "address, thread or undefined")
option(VL2_ASSERTIONS "Keep assertions in optimised builds" OFF)
option(VL2_FUZZ "Build the fuzz targets (needs clang)" OFF)
option(VL2_SERVICES "Build what needs gRPC: the services, the gateway and their tests" ON)
set(VL2_CUDA "AUTO" CACHE STRING "Build the CUDA backend: AUTO, ON or OFF")
if(VL2_CUDA STREQUAL "ON")
  message(FATAL_ERROR "VL2_CUDA=ON: there is no CUDA backend yet, build with AUTO or OFF")
endif()

find_program(VL2_CCACHE ccache)
if(VL2_CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${VL2_CCACHE})
endif()
find_program(VL2_MOLD mold)
if(VL2_MOLD)
  add_link_options(-fuse-ld=mold)
endif()

if(VL2_ASSERTIONS)
  foreach(config RELWITHDEBINFO RELEASE)
    string(REPLACE "-DNDEBUG" "" CMAKE_CXX_FLAGS_${config} "${CMAKE_CXX_FLAGS_${config}}")
  endforeach()
  add_compile_definitions(_GLIBCXX_ASSERTIONS)
endif()

# Line tables are enough to read a stack, and keep the build folder small.
set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "${CMAKE_CXX_FLAGS_RELWITHDEBINFO} -g1")

# No contraction behind our back: where a fused multiply-add is meant, the code says so. This is part
# of the determinism contract (ARCHITECTURE.md).
add_compile_options(-Wall -Wextra -Werror -Wno-unused-parameter -ffp-contract=off)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # Flow-sensitive warnings of g++ 12 that fire inside its own library headers at -O3.
  add_compile_options(-Wno-restrict -Wno-maybe-uninitialized -Wno-array-bounds
                      -Wno-stringop-overflow)
endif()
if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  add_compile_options(-Wthread-safety)
endif()

if(VL2_SANITIZER)
  add_compile_options(-fsanitize=${VL2_SANITIZER} -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${VL2_SANITIZER})
  if(VL2_SANITIZER STREQUAL "undefined")
    add_compile_options(-fno-sanitize-recover=all)
  endif()
endif()

include_directories(${CMAKE_SOURCE_DIR})

function(vl2_library name)
  cmake_parse_arguments(ARG "" "" "SRCS;DEPS" ${ARGN})
  add_library(vl2_${name} STATIC ${ARG_SRCS})
  target_link_libraries(vl2_${name} PUBLIC ${ARG_DEPS})
endfunction()

function(vl2_program name)
  cmake_parse_arguments(ARG "" "" "SRCS;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SRCS})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS})
endfunction()

function(vl2_test name)
  cmake_parse_arguments(ARG "" "LABEL;TIMEOUT" "SRCS;DEPS" ${ARGN})
  if(NOT ARG_LABEL)
    set(ARG_LABEL unit)
  endif()
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  if(VL2_SANITIZER)
    math(EXPR ARG_TIMEOUT "${ARG_TIMEOUT} * 6")  # ThreadSanitizer slows the kernels that much
  endif()
  add_executable(${name} ${ARG_SRCS})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} GTest::gmock_main)
  target_compile_definitions(${name} PRIVATE VL2_TEST_DATA="${CMAKE_SOURCE_DIR}/tests")
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES LABELS ${ARG_LABEL} TIMEOUT ${ARG_TIMEOUT})
endfunction()

# A test that is a Python script beside its CMakeLists.txt; it is given the folder of the programs, and
# exits with 77 where it lacks something.
function(vl2_python_test name label timeout python script)
  add_test(NAME ${name} COMMAND ${python} ${CMAKE_CURRENT_SOURCE_DIR}/${script}
                                ${CMAKE_RUNTIME_OUTPUT_DIRECTORY} ${ARGN})
  set_tests_properties(${name} PROPERTIES LABELS ${label} TIMEOUT ${timeout} SKIP_RETURN_CODE 77
                       ENVIRONMENT PYTHONDONTWRITEBYTECODE=1)
endfunction()
