//! The real app on a virtual screen.
#![cfg(target_os = "linux")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
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

#[test]
fn window_opens_and_draws_a_picture() {
    let (_server, display) = screen();
    assert_eq!(colours(&display).len(), 1, "a new screen has one colour");
    let home = tempfile::tempdir().unwrap();
    let picture = home.path().join("gradient.png");
    image::RgbImage::from_fn(64, 64, |x, y| image::Rgb([4 * x as u8, 4 * y as u8, 128]))
        .save(&picture)
        .unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_seemore-app"));
    program
        .arg(&picture)
        .env("DISPLAY", &display)
        .env("HOME", home.path())
        .env_remove("WAYLAND_DISPLAY")
        .env_remove("XDG_DATA_HOME");
    let mut program = Running(program.spawn().unwrap());
    let start = Instant::now();
    // text, and a picture in which every pixel has a different colour
    while colours(&display).len() < 1000 {
        assert!(program.0.try_wait().unwrap().is_none(), "the program ended");
        assert!(
            start.elapsed() < Duration::from_secs(120),
            "{} colours after two minutes",
            colours(&display).len()
        );
        std::thread::sleep(Duration::from_millis(200));
    }
}
