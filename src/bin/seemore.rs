//! See `src/cli.rs`.

fn main() -> std::process::ExitCode {
    seemore::cli::seemore()
}
