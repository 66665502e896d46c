//! Figures of the book: SVG with a light ground of its own, readable on light and dark pages.

// each example uses a part of it
#![allow(dead_code)]

use std::fmt::Write;
use std::path::PathBuf;

pub const INK: &str = "#22262b";
pub const GREY: &str = "#6b7078";
pub const BLUE: &str = "#1f6fb4";
pub const ORANGE: &str = "#c2570c";
pub const GREEN: &str = "#2e7d4f";
pub const PURPLE: &str = "#7a4fa3";

/// A drawing of a given size in pixels. Coordinates count from the top left corner.
pub struct Figure {
    name: &'static str,
    body: String,
}

/// Folder for everything that the examples write: `SEEMORE_BOOK`, or `runs/book`.
pub fn folder() -> PathBuf {
    let folder = std::env::var_os("SEEMORE_BOOK").map_or("runs/book".into(), PathBuf::from);
    std::fs::create_dir_all(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    folder
}

impl Figure {
    /// Starts `name.svg`. `alt` describes the figure to readers who do not see it.
    pub fn new(name: &'static str, width: u32, height: u32, alt: &str) -> Figure {
        let body = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\" role=\"img\" font-family=\"Helvetica, Arial, sans-serif\">\n\
             <title>{alt}</title>\n<rect x=\"0.5\" y=\"0.5\" width=\"{}\" height=\"{}\" rx=\"10\" \
             fill=\"#fbf9f4\" stroke=\"#cfc8b8\"/>\n",
            width - 1,
            height - 1
        );
        Figure { name, body }
    }

    fn add(&mut self, line: std::fmt::Arguments) {
        self.body
            .write_fmt(line)
            .expect("a String takes everything");
        self.body.push('\n');
    }

    /// Text that starts at a point.
    pub fn text(&mut self, x: f32, y: f32, text: &str) {
        self.label(x, y, "start", 13, INK, text);
    }

    /// Text around a point.
    pub fn center(&mut self, x: f32, y: f32, text: &str) {
        self.label(x, y, "middle", 13, INK, text);
    }

    /// Text with its anchor (`start`, `middle` or `end`), size and color.
    pub fn label(&mut self, x: f32, y: f32, anchor: &str, size: u32, color: &str, text: &str) {
        let text = text.replace('&', "&amp;").replace('<', "&lt;");
        self.add(format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" font-size=\"{size}\" fill=\"{color}\">{text}</text>"
        ));
    }

    /// A filled rectangle.
    pub fn bar(&mut self, [x, y, width, height]: [f32; 4], color: &str, opacity: f32) {
        self.add(format_args!(
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{color}\" fill-opacity=\"{opacity:.2}\"/>"
        ));
    }

    /// The outline of a rectangle.
    pub fn outline(&mut self, [x, y, width, height]: [f32; 4], color: &str) {
        self.add(format_args!(
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"none\" stroke=\"{color}\"/>"
        ));
    }

    /// A box with a name in its middle.
    pub fn boxed(&mut self, at: [f32; 4], color: &str, text: &str) {
        let [x, y, width, height] = at;
        self.add(format_args!(
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"6\" \
             fill=\"{color}\" fill-opacity=\"0.14\" stroke=\"{color}\"/>"
        ));
        self.center(x + width / 2.0, y + height / 2.0 + 4.5, text);
    }

    /// A line through points.
    pub fn line(&mut self, points: &[(f32, f32)], color: &str) {
        let points: Vec<String> = points
            .iter()
            .map(|(x, y)| format!("{x:.1},{y:.1}"))
            .collect();
        self.add(format_args!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"2\"/>",
            points.join(" ")
        ));
    }

    /// An arrow to the right, downwards, or in any other direction.
    pub fn arrow(&mut self, from: (f32, f32), to: (f32, f32), color: &str) {
        let (dx, dy) = (to.0 - from.0, to.1 - from.1);
        let (ux, uy) = (dx / dx.hypot(dy), dy / dx.hypot(dy));
        let foot = (to.0 - 8.0 * ux, to.1 - 8.0 * uy);
        self.line(&[from, foot], color);
        self.add(format_args!(
            "<polygon points=\"{:.1},{:.1} {:.1},{:.1} {:.1},{:.1}\" fill=\"{color}\"/>",
            to.0,
            to.1,
            foot.0 - 4.5 * uy,
            foot.1 + 4.5 * ux,
            foot.0 + 4.5 * uy,
            foot.1 - 4.5 * ux
        ));
    }

    /// A matrix of shares between 0 and 1 as squares of `side` pixels, each with its number if it
    /// is at least 36 pixels wide.
    pub fn heat(
        &mut self,
        (x, y): (f32, f32),
        side: f32,
        cols: usize,
        values: &[f32],
        color: &str,
    ) {
        for (i, &value) in values.iter().enumerate() {
            let at = (x + side * (i % cols) as f32, y + side * (i / cols) as f32);
            self.bar(
                [at.0, at.1, side, side],
                color,
                value.clamp(0.0, 1.0) * 0.85,
            );
            self.outline([at.0, at.1, side, side], "#cfc8b8");
            if side >= 36.0 {
                let ink = if value > 0.85 { "#ffffff" } else { INK };
                let number = format!("{:.2}", value + 0.0);
                self.label(
                    at.0 + side / 2.0,
                    at.1 + side / 2.0 + 4.5,
                    "middle",
                    12,
                    ink,
                    &number,
                );
            }
        }
    }

    /// A matrix of shares as [`heat`](Self::heat) of 44 pixels, with names of its rows and columns.
    pub fn shares(&mut self, (x, y): (f32, f32), names: &[&str], values: &[f32], color: &str) {
        for (i, name) in names.iter().enumerate() {
            let at = 44.0 * i as f32;
            self.label(x + 22.0 + at, y - 10.0, "middle", 12, GREY, name);
            self.label(x - 8.0, y + 26.0 + at, "end", 12, GREY, name);
        }
        self.heat((x, y), 44.0, names.len(), values, color);
    }

    /// A PNG file as a square of `side` pixels.
    pub fn picture(&mut self, (x, y): (f32, f32), side: f32, base64: &str) {
        self.add(format_args!(
            "<image x=\"{x:.1}\" y=\"{y:.1}\" width=\"{side:.1}\" height=\"{side:.1}\" href=\"data:image/png;base64,{base64}\"/>"
        ));
    }

    /// Writes the file into [`folder`].
    pub fn save(mut self) {
        self.body.push_str("</svg>\n");
        let path = folder().join(self.name).with_extension("svg");
        std::fs::write(&path, self.body)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}
