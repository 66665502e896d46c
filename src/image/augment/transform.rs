//! The pixel pipeline of augmentation: geometry, colour, outlines, noise and erasing.

use super::Augment;
use super::color::ColorMatrix;
use super::outline::Outline;
use super::random::Draws;
use crate::image::crop::Bounds;

/// Returns a changed copy of a picture `[side, side, 3]`.
pub fn change(augment: &Augment, rgb: &[u8], side: usize, mut draws: Draws) -> Vec<u8> {
    // the order of the draws down to brightness defines the meaning of a seed
    let scale = draws.uniform(augment.scale.0, augment.scale.1);
    let aspect = draws.uniform(-1.0, 1.0) * augment.aspect.ln();
    let angle = draws.uniform(-augment.rotate, augment.rotate).to_radians();
    let shift = [(); 2].map(|()| draws.uniform(-augment.shift, augment.shift) * side as f32);
    let mut hue = draws.uniform(-augment.hue, augment.hue);
    let mut saturation = draws.uniform(augment.saturation.0, augment.saturation.1);
    let contrast = draws.uniform(augment.contrast.0, augment.contrast.1);
    let brightness = draws.uniform(-augment.brightness, augment.brightness);
    let flip = draws.happens(augment.flip);
    if draws.happens(augment.rare_hue.0) {
        hue = draws.uniform(-augment.rare_hue.1, augment.rare_hue.1);
    }
    if draws.happens(augment.grey) {
        saturation = 0.0;
    }
    let gamma = (draws.uniform(-1.0, 1.0) * augment.gamma.ln()).exp();
    let noise = 255.0 * draws.uniform(0.0, augment.noise);

    // maps a pixel of the new picture to coordinates in the old one
    let (sin, cos) = angle.sin_cos();
    let (across, down) = (
        1.0 / (scale * (aspect / 2.0).exp()),
        1.0 / (scale * (-aspect / 2.0).exp()),
    );
    let middle = (side as f32 - 1.0) / 2.0;
    let source = |x: usize, y: usize| {
        let (dx, dy) = (x as f32 - middle - shift[0], y as f32 - middle - shift[1]);
        (
            middle + across * (cos * dx + sin * dy),
            middle + down * (cos * dy - sin * dx),
        )
    };
    let crop = augment
        .crop
        .map(|margin| Bounds::of(rgb, side, side).square(margin));
    let place = |x: usize, y: usize| {
        let (mut x, y) = source(x, y);
        if flip {
            x = 2.0 * middle - x;
        }
        match crop {
            Some((centre, size)) => {
                let step = size / side as f32;
                (
                    centre.0 + step * (x - middle),
                    centre.1 + step * (y - middle),
                )
            }
            None => (x, y),
        }
    };

    let colour = ColorMatrix::new(hue.to_radians(), saturation, contrast, 255.0 * brightness);
    let mut new = vec![0; rgb.len()];
    for y in 0..side {
        for x in 0..side {
            let pixel = colour.apply(bilinear(rgb, side, place(x, y)));
            new[3 * (y * side + x)..][..3]
                .copy_from_slice(&pixel.map(|v| v.round().clamp(0.0, 255.0) as u8));
        }
    }
    // no draw without outlines, so that runs from before outlines existed can be repeated
    if augment.outline > 0.0 && draws.happens(augment.outline) {
        let outline = Outline {
            edge: draws.uniform(20.0, 100.0),
            opacity: draws.uniform(0.75, 1.0),
            ink: [(); 3].map(|()| draws.uniform(0.0, 50.0)),
            wide: draws.happens(0.5),
        };
        outline.draw(&mut new, side);
    }
    if augment.gamma > 1.0 || augment.noise > 0.0 {
        let curve: [f32; 256] =
            std::array::from_fn(|value| 255.0 * (value as f32 / 255.0).powf(gamma));
        for value in &mut new {
            let noisy = curve[*value as usize]
                + if augment.noise > 0.0 {
                    noise * draws.normal()
                } else {
                    0.0
                };
            *value = noisy.round().clamp(0.0, 255.0) as u8;
        }
    }
    if draws.happens(augment.erase) {
        let [width, height] = [(); 2]
            .map(|()| draws.uniform(augment.erase_side.0, augment.erase_side.1) * side as f32);
        let (width, height) = (width as usize, height as usize);
        let (left, top) = (
            draws.below(side - width + 1),
            draws.below(side - height + 1),
        );
        let fill = if draws.happens(0.5) {
            [255; 3]
        } else {
            [(); 3].map(|()| draws.below(256) as u8)
        };
        for y in top..top + height {
            new[3 * (y * side + left)..][..3 * width]
                .as_chunks_mut()
                .0
                .fill(fill);
        }
    }
    new
}

/// Interpolates the colour at a position between pixels; white outside the picture.
fn bilinear(rgb: &[u8], side: usize, (x, y): (f32, f32)) -> [f32; 3] {
    let (left, top) = (x.floor(), y.floor());
    let (fx, fy) = (x - left, y - top);
    let mut sum = [0.0; 3];
    for (dx, dy, weight) in [
        (0, 0, (1.0 - fx) * (1.0 - fy)),
        (1, 0, fx * (1.0 - fy)),
        (0, 1, (1.0 - fx) * fy),
        (1, 1, fx * fy),
    ] {
        let (x, y) = (left as i32 + dx, top as i32 + dy);
        let inside = (0..side as i32).contains(&x) && (0..side as i32).contains(&y);
        let pixel = if inside {
            &rgb[3 * (y as usize * side + x as usize)..][..3]
        } else {
            &[255; 3]
        };
        for (sum, &value) in sum.iter_mut().zip(pixel) {
            *sum += weight * value as f32;
        }
    }
    sum
}
