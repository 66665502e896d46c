//! Memory of many large pictures.
#![cfg(target_os = "linux")]

mod common;

use common::{drop_file, has, scripted, until};
use egui_kittest::kittest::Queryable;

/// Returns the memory that the process holds, in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS"))
        .unwrap();
    let kilobytes = line.split_whitespace().nth(1).unwrap();
    1024 * kilobytes.parse::<usize>().unwrap()
}

#[test]
fn opened_pictures_keep_no_pixels() {
    /// 36 MB of pixels each.
    const SIZE: [u32; 2] = [4000, 3000];
    const COUNT: usize = 24;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.png");
    let picture = image::RgbImage::from_fn(SIZE[0], SIZE[1], |x, y| {
        image::Rgb([(x / 16) as u8, (y / 12) as u8, 0])
    });
    picture.save(&path).unwrap();
    drop(picture);
    // what reading and drawing take once
    let (mut harness, _commands, _events) = scripted(vec![path.clone(); 3]);
    until(&mut harness, "pictures", |harness| {
        has(harness, "3 pictures")
    });
    harness.run_steps(3);
    let before = resident();
    for number in 4..=COUNT + 3 {
        drop_file(&mut harness, &path);
        let all = format!("{number} pictures");
        until(&mut harness, "a picture", |harness| has(harness, &all));
        harness.run_steps(3);
    }
    let grown = resident().saturating_sub(before);
    let pixels = 3 * (SIZE[0] * SIZE[1]) as usize * COUNT;
    // previews and what the allocator keeps take up to a quarter, from run to run a little more
    assert!(
        grown < pixels / 3,
        "{} MB for {COUNT} pictures",
        grown / 1_000_000
    );
    assert!(harness.query_by_label("Model input").is_some());
}
