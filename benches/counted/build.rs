//! Builds the sources with their counters.

fn main() {
    println!("cargo::rustc-cfg=sessionwheel_counted");
    println!("cargo::rerun-if-changed=build.rs");
}
