//! `autodan-planted BUG` has the bug of that name.

fn main() {
    let name = std::env::args().nth(1).unwrap_or_default();
    assert!(autodan_planted::run(&name), "no bug is named '{name}'");
    println!("{name}: done");
}
