# Shared by the scripts that build: sourced, with the repository's root as working directory.

# set_up FOLDER [MESON OPTION ...]: once. The variable CC chooses the compiler.
set_up() {
    local folder=$1
    shift
    if [ ! -f "$folder/build.ninja" ]; then
        echo "== setting up $folder"
        rm -rf "$folder"
        meson setup "$folder" "$@"
    fi
}

# build FOLDER [MESON OPTION ...]: sets it up, then compiles what changed.
build() {
    set_up "$@"
    echo "== building $1"
    ninja -C "$1"
}

# What people run, without the tests and what these need.
build_release() {
    build build-release --buildtype=release -Dtests=false
}
