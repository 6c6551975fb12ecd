# Shared by the scripts that build: sourced, with the repository's root as working directory.

# build FOLDER [MESON OPTION ...]: sets up the folder once, then compiles what changed.
# The variable CC chooses the compiler when the folder is set up.
build() {
    local folder=$1
    shift
    if [ ! -f "$folder/build.ninja" ]; then
        echo "== setting up $folder"
        rm -rf "$folder"
        meson setup "$folder" "$@"
    fi
    echo "== building $folder"
    ninja -C "$folder"
}

# What people run, without the tests and what these need.
build_release() {
    build build-release --buildtype=release -Dtests=false
}
