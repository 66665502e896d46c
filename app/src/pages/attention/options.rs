//! Display options and export.

use std::path::Path;
use std::sync::Arc;

use egui::{Slider, Ui};
use seemore::explain::{ColorMap, SINK, heatmap};
use serde_json::json;

use super::{AttentionPage, Source, overlay, word};
use crate::file_dialog::FileDialog;
use crate::page::{HeatStyle, Selection};
use crate::pictures::PictureSource;
use crate::theme::{self, Action, Icon};
use crate::worker::Attention;

/// The heat map on screen, with what is needed to draw or write it elsewhere.
struct Export {
    attention: Arc<Attention>,
    source: Arc<PictureSource>,
    heat: Vec<f32>,
    style: HeatStyle,
    caption: String,
    word: String,
    /// Layer and head, or method.
    origin: String,
    description: &'static str,
}

impl AttentionPage {
    /// Draws the display options, the export buttons and the notes below them.
    pub(super) fn options(
        &mut self,
        ui: &mut Ui,
        attention: &Arc<Attention>,
        selection: &Selection,
        style: &mut HeatStyle,
    ) {
        theme::card(ui, |ui| {
            ui.set_width(ui.available_width());
            theme::title(ui, "Heat map");
            ui.checkbox(&mut self.hide_sinks, "Hide sinks")
                .on_hover_text(format!(
                    "Hide patches that the average query attends to more than {SINK} times as much \
                     as to the average patch"
                ));
            ui.add(
                Slider::new(&mut style.opacity, 0.0..=1.0)
                    .step_by(0.05)
                    .fixed_decimals(2)
                    .text("Opacity"),
            );
            ui.horizontal(|ui| {
                ui.label("Colors");
                ColorMap::ALL
                    .into_iter()
                    .for_each(|map| drop(ui.selectable_value(&mut style.colors, map, map.name())));
            });
            ui.horizontal_wrapped(|ui| {
                let picture = ui.add(Action::new(Icon::ImageDown, "Save picture..."));
                if picture
                    .on_hover_text(
                        "Save the picture at full resolution with the heat map, the caption and \
                         the legend as PNG",
                    )
                    .clicked()
                {
                    self.save(ui, attention, selection, *style, "attention.png");
                }
                let values = ui.add(Action::new(Icon::FileSpreadsheet, "Save values..."));
                if values
                    .on_hover_text(
                        "Save the heat map's values as CSV or JSON, or the attention of all layers \
                         and heads as safetensors, by the ending of the name",
                    )
                    .clicked()
                {
                    self.save(ui, attention, selection, *style, "attention.csv");
                }
            });
        });
        ui.add_space(theme::SPACE);
        theme::note(
            ui,
            "Attention shows where a layer reads from; it is not an explanation of the caption. \
             Different attention can produce the same words. Hide patches and run again to see \
             what the caption depends on.",
        );
        if attention.maps.visual.len() <= 1 {
            theme::note(
                ui,
                "The decoder of this model sees the picture as one vector, so its attention covers \
                 words only. The encoder layers and the relevance cover patches.",
            );
        }
    }

    /// Lets the user choose a file and saves what its ending names.
    fn save(
        &self,
        ui: &Ui,
        attention: &Arc<Attention>,
        selection: &Selection,
        style: HeatStyle,
        name: &'static str,
    ) {
        let texts = selection.tokens.iter().map(|token| token.text.as_str());
        let export = Export {
            attention: attention.clone(),
            source: selection.source.clone(),
            heat: self.view_of(attention).heat,
            style,
            caption: texts.collect::<String>().trim().to_owned(),
            word: word(selection, self.token).to_owned(),
            origin: match self.source {
                Source::Relevance => "relevance".into(),
                Source::Rollout => "rollout".into(),
                Source::Encoder(layer) => format!("encoder layer {}, {:?}", layer + 1, self.heads),
                Source::Decoder(layer) => format!("decoder layer {}, {:?}", layer + 1, self.heads),
            },
            description: self.description(attention),
        };
        let ctx = ui.ctx().clone();
        self.saved.run(ui.ctx(), move || {
            let dialog = FileDialog::new(&ctx).set_title("Save attention");
            let path = dialog.set_file_name(name).save_file()?;
            let saved = export.save(&path);
            Some(match saved {
                Ok(()) => Ok(path),
                Err(error) => Err(format!("Cannot save {}: {error}.", path.display())),
            })
        });
    }
}

impl Export {
    /// Saves the heat map in the format that the ending of the name says.
    fn save(&self, path: &Path) -> anyhow::Result<()> {
        let ending = path.extension().unwrap_or_default().to_string_lossy();
        match ending.to_lowercase().as_str() {
            "png" => self.figure(path),
            "csv" => Ok(std::fs::write(path, self.csv())?),
            "json" => Ok(std::fs::write(path, self.json())?),
            "safetensors" => Ok(self.attention.save(path)?),
            _ => anyhow::bail!("the name must end in .png, .csv, .json or .safetensors"),
        }
    }

    /// Saves the picture at its own size under the heat map, with caption and legend.
    fn figure(&self, path: &Path) -> anyhow::Result<()> {
        let whole = self.source.read()?;
        let shown = &self.attention.input;
        // a crop has other proportions than the picture; its pixels are those of the page
        let same = whole.width * shown.height == whole.height * shown.width
            || whole
                .width
                .abs_diff(whole.height * shown.width / shown.height)
                <= 1;
        let picture = if same { &whole } else { shown };
        let HeatStyle { colors, opacity } = self.style;
        let drawn = heatmap::blend(picture, &self.heat, colors, opacity);
        let range = self
            .heat
            .iter()
            .fold((f32::MAX, 0f32), |(least, most), &share| {
                (least.min(share), most.max(share))
            });
        let lines = [
            self.caption.clone(),
            format!("{} ({})", self.description, self.origin),
            format!("Word: {}", self.word),
        ];
        let figure = heatmap::figure(&drawn, range, colors, &lines);
        Ok(figure.save(path)?)
    }

    /// Returns the share of each patch, a line each.
    fn csv(&self) -> String {
        let side = overlay::side(&self.heat).max(1);
        let mut text = "row,column,share\n".to_owned();
        for (index, share) in self.heat.iter().enumerate() {
            text.push_str(&format!(
                "{},{},{share}\n",
                index / side + 1,
                index % side + 1
            ));
        }
        text
    }

    fn json(&self) -> String {
        let side = overlay::side(&self.heat).max(1);
        let rows: Vec<&[f32]> = self.heat.chunks(side).collect();
        let value = json!({
            "picture": self.source.name, "caption": self.caption, "word": self.word,
            "origin": self.origin, "description": self.description, "shares": rows,
        });
        format!("{value:#}\n")
    }
}
