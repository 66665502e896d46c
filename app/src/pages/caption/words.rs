//! Text that a model has written, with a background for each word by its probability.

use egui::{FontId, Role, Sense, StrokeKind, Ui, WidgetInfo, vec2};
use seemore::caption::CaptionToken;

use crate::theme;

/// Space between words, as a share of the font size.
const SPACE: f32 = 0.28;

/// Tokens under the pointer: hovered and clicked.
#[derive(Default)]
pub struct Touched {
    /// The token that was clicked.
    pub clicked: Option<usize>,
    /// The token under the pointer.
    pub hovered: Option<usize>,
}

/// Draws tokens as words. Tokens of one word are not separated, and words are not broken.
pub fn show(ui: &mut Ui, tokens: &[CaptionToken], selected: Option<usize>, size: f32) -> Touched {
    let mut touched = Touched::default();
    // room for the frame of a selected word
    let frame = egui::Frame::new().inner_margin(vec2(4.0, 2.0));
    frame.show(ui, |ui| {
        ui.horizontal_wrapped(|ui| {
            ui.spacing_mut().item_spacing = vec2(0.0, 4.0);
            let right = ui.max_rect().right();
            let full = ui.max_rect().width();
            for word in words(tokens) {
                let colors = theme::colors(ui);
                let galleys: Vec<_> = word
                    .clone()
                    .map(|index| {
                        let text = tokens[index].text.trim().to_owned();
                        let font = FontId::proportional(size);
                        ui.painter().layout_no_wrap(text, font, colors.text)
                    })
                    .collect();
                let width: f32 = galleys.iter().map(|galley| galley.size().x).sum();
                let breaks = tokens[word.start].text.contains('\n') && word.start > 0;
                let full_line = ui.cursor().left() + width > right && width < full;
                if breaks || full_line {
                    ui.end_row();
                }
                for (index, galley) in word.zip(galleys) {
                    let token = &tokens[index];
                    let (rect, response) = ui.allocate_exact_size(galley.size(), Sense::click());
                    let chosen = selected == Some(index);
                    let name = token.text.trim();
                    response.widget_info(|| WidgetInfo::selected(Role::Button, true, chosen, name));
                    let tint = theme::tint(colors, token.choice.probability);
                    let back = rect.expand2(vec2(1.0, 0.0));
                    ui.painter().rect_filled(back, 3.0, tint);
                    if chosen || response.has_focus() {
                        let stroke = (2.0, colors.link);
                        ui.painter().rect_stroke(
                            back.expand(1.0),
                            4.0,
                            stroke,
                            StrokeKind::Outside,
                        );
                    } else if response.hovered() {
                        let stroke = (1.0, colors.outline);
                        ui.painter()
                            .rect_stroke(back, 3.0, stroke, StrokeKind::Outside);
                    }
                    ui.painter().galley(rect.min, galley, colors.text);
                    if response.clicked() {
                        touched.clicked = Some(index);
                    }
                    if response.hovered() {
                        touched.hovered = Some(index);
                    }
                }
                ui.add_space(size * SPACE);
            }
        })
    });
    touched
}

/// Returns the ranges of tokens that make a word: each begins with a space, or is the first.
fn words(tokens: &[CaptionToken]) -> Vec<std::ops::Range<usize>> {
    let begins = |index: &usize| {
        let before = index.checked_sub(1).map(|before| &tokens[before].text);
        let ends = before.is_none_or(|text| text.ends_with(char::is_whitespace));
        ends || tokens[*index].text.starts_with(char::is_whitespace)
    };
    let starts: Vec<usize> = (0..tokens.len()).filter(begins).collect();
    let ends = starts.iter().copied().skip(1).chain([tokens.len()]);
    starts
        .iter()
        .copied()
        .zip(ends)
        .map(|(a, b)| a..b)
        .collect()
}

#[cfg(test)]
mod tests {
    use seemore::caption::{Choice, Tail};

    use super::*;

    #[test]
    fn characters_of_a_word_stay_together() {
        let token = |text: &str| CaptionToken {
            choice: Choice {
                token: 0,
                probability: 1.0,
            },
            text: text.into(),
            others: vec![],
            tail: Tail::default(),
            heat: vec![],
        };
        let letters: Vec<_> = "ham bun".chars().map(|c| token(&c.to_string())).collect();
        assert_eq!(words(&letters), [0..3, 3..4, 4..7]);
        let pieces = ["grin", "ning", " face"].map(token);
        assert_eq!(words(&pieces), [0..2, 2..3]);
        assert!(words(&[]).is_empty());
    }
}
