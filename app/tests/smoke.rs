//! The real app on a virtual screen.
#![cfg(target_os = "linux")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use x11rb::connection::Connection;
use x11rb::protocol::xproto::{ConnectionExt, ImageFormat};

/// A process that is killed when the test ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a virtual screen with an unused number.
fn screen() -> (Running, String) {
    let mut command = Command::new("Xvfb");
    // without -noreset the server restarts when its last client leaves, and refuses connections
    // meanwhile
    command
        .args(["-noreset", "-displayfd", "1", "-screen", "0", "1200x800x24"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut server = command.spawn().expect("Xvfb, which `make screen` installs");
    let mut number = String::new();
    BufReader::new(server.stdout.take().unwrap())
        .read_line(&mut number)
        .unwrap();
    (Running(server), format!(":{}", number.trim()))
}

/// Returns all colours on the screen.
fn colours(display: &str) -> BTreeSet<[u8; 4]> {
    let (connection, number) = x11rb::connect(Some(display)).unwrap();
    let screen = &connection.setup().roots[number];
    let (width, height) = (screen.width_in_pixels, screen.height_in_pixels);
    let image = connection
        .get_image(
            ImageFormat::Z_PIXMAP,
            screen.root,
            0,
            0,
            width,
            height,
            u32::MAX,
        )
        .unwrap()
        .reply()
        .unwrap();
    image.data.as_chunks::<4>().0.iter().copied().collect()
}

/// Starts the app on a virtual screen with a picture of many colours.
fn app(display: &str, home: &Path, arguments: &[&str]) -> Running {
    let picture = home.join("gradient.png");
    image::RgbImage::from_fn(64, 64, |x, y| image::Rgb([4 * x as u8, 4 * y as u8, 128]))
        .save(&picture)
        .unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_seemore-app"));
    program
        .args(arguments)
        .arg(&picture)
        .env("DISPLAY", display)
        .env("HOME", home)
        .env("SEEMORE_CACHE", home.join("cache"))
        .env_remove("WAYLAND_DISPLAY")
        .env_remove("XDG_DATA_HOME");
    Running(program.spawn().unwrap())
}

/// Waits at most two minutes, while the program runs.
fn wait(program: &mut Running, what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(program.0.try_wait().unwrap().is_none(), "the program ended");
        assert!(
            start.elapsed() < Duration::from_secs(120),
            "no {what} after two minutes"
        );
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn window_opens_and_draws_a_picture() {
    let (_server, display) = screen();
    assert_eq!(colours(&display).len(), 1, "a new screen has one colour");
    let home = tempfile::tempdir().unwrap();
    let mut program = app(&display, home.path(), &[]);
    // text, and a picture in which every pixel has a different colour
    wait(&mut program, "picture", || colours(&display).len() > 1000);
}

#[test]
fn kernel_variants_are_measured_as_on_the_command_line() {
    let (_server, display) = screen();
    let home = tempfile::tempdir().unwrap();
    let measured = home.path().join("cache/tuned.json");
    let answers = || std::fs::read_to_string(&measured).unwrap_or_default();
    let mut program = app(&display, home.path(), &["--device", "0"]);
    wait(&mut program, "measurement", || answers().contains("matmul"));
    drop(program);
    std::fs::remove_file(&measured).unwrap();
    let arguments = ["--device", "0", "--no-autotune"];
    let mut program = app(&display, home.path(), &arguments);
    wait(&mut program, "picture", || colours(&display).len() > 1000);
    // longer than measuring took
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(answers(), "");
}
