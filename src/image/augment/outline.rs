//! Dark outlines along the edges of a drawing, as by an artist who inks.

/// Style of the outlines in one picture.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outline {
    /// Smallest difference of a channel's value within 3 x 3 pixels that counts as an edge.
    pub edge: f32,
    /// Opacity of the lines, from 0 to 1.
    pub opacity: f32,
    /// Colour of the lines.
    pub ink: [f32; 3],
    /// Whether both sides of an edge are inked, for lines of two to three pixels instead of one to
    /// two.
    pub wide: bool,
}

/// Range of differences above `edge` over which the opacity rises to its full value.
const SOFT: f32 = 26.0;

impl Outline {
    /// Draws the outlines into a picture `[side, side, 3]`.
    pub fn draw(&self, rgb: &mut [u8], side: usize) {
        let old = rgb.to_vec();
        let old = old.as_chunks::<3>().0;
        let light = |pixel: [u8; 3]| pixel.iter().map(|&value| value as u16).sum::<u16>();
        for (index, pixel) in rgb.as_chunks_mut::<3>().0.iter_mut().enumerate() {
            let (x, y) = (index % side, index / side);
            let (mut least, mut most) = ([u8::MAX; 3], [0; 3]);
            let (mut darkest, mut lightest) = (u16::MAX, 0);
            for y in y.saturating_sub(1)..(y + 2).min(side) {
                for &near in &old[y * side..][x.saturating_sub(1)..(x + 2).min(side)] {
                    for channel in 0..3 {
                        least[channel] = least[channel].min(near[channel]);
                        most[channel] = most[channel].max(near[channel]);
                    }
                    (darkest, lightest) = (darkest.min(light(near)), lightest.max(light(near)));
                }
            }
            let step = (0..3)
                .map(|channel| most[channel] - least[channel])
                .max()
                .unwrap_or(0);
            let darker = 2 * light(*pixel) <= darkest + lightest;
            if self.wide || darker {
                let share = self.opacity * ((step as f32 - self.edge) / SOFT).clamp(0.0, 1.0);
                for (value, ink) in pixel.iter_mut().zip(self.ink) {
                    *value = ((1.0 - share) * *value as f32 + share * ink).round() as u8;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the inked columns of an 8 x 8 picture with the given grey values in its halves.
    fn inked(outline: Outline, left: u8, right: u8) -> Vec<usize> {
        let mut rgb: Vec<u8> = (0..64)
            .flat_map(|i| if i % 8 < 4 { [left; 3] } else { [right; 3] })
            .collect();
        outline.draw(&mut rgb, 8);
        let rows: Vec<Vec<usize>> = rgb
            .chunks(24)
            .map(|row| (0..8).filter(|x| row[3 * x] < left.min(right)).collect())
            .collect();
        assert!(rows.iter().all(|row| *row == rows[0]), "{rows:?}");
        rows[0].clone()
    }

    #[test]
    fn inks_edges_and_nothing_else() {
        let thin = Outline {
            edge: 60.0,
            opacity: 1.0,
            ink: [0.0; 3],
            wide: false,
        };
        assert_eq!(inked(thin, 80, 255), [3]);
        assert_eq!(inked(thin, 255, 80), [4]);
        assert_eq!(inked(Outline { wide: true, ..thin }, 80, 255), [3, 4]);
        assert_eq!(inked(thin, 200, 255), [0; 0]);
        assert_eq!(inked(Outline { edge: 20.0, ..thin }, 200, 255), [3]);
    }

    #[test]
    fn blends_ink_by_its_opacity() {
        let mut rgb = [[100; 3], [240; 3], [100; 3], [240; 3]].concat();
        Outline {
            edge: 10.0,
            opacity: 0.5,
            ink: [0.0, 20.0, 40.0],
            wide: false,
        }
        .draw(&mut rgb, 2);
        assert_eq!(
            rgb,
            [[50, 60, 70], [240; 3], [50, 60, 70], [240; 3]].concat()
        );
    }
}
