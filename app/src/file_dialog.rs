//! Dialogs in which the user chooses files.
//!
//! They are the system's. Where there is none, which on Linux means neither a desktop portal nor
//! zenity, the window asks for a path instead.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use egui::{Context, Id};

/// Kind of path that a dialog asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// An existing file.
    File,
    /// An existing folder.
    Folder,
    /// A file to write.
    Save,
}

/// A dialog that a thread waits for.
pub struct FileDialog {
    ctx: Context,
    title: String,
    filters: Vec<(String, Vec<String>)>,
    folder: Option<PathBuf>,
    file_name: String,
}

/// A path that the window is to ask for.
pub struct PathRequest {
    /// Heading of the dialog.
    pub title: String,
    /// Use of the path.
    pub choice: Choice,
    /// Proposed name of a file to write.
    pub file_name: String,
    answer: Sender<Option<PathBuf>>,
}

impl PathRequest {
    /// Hands over the path, or `None` if the dialog was cancelled.
    pub fn answer(self, path: Option<PathBuf>) {
        // fails only after the thread has ended
        let _ = self.answer.send(path);
    }
}

/// Whether the system has dialogs, and the paths that the window is to ask for.
#[derive(Clone, Default)]
struct Dialogs {
    system: bool,
    requests: Arc<Mutex<VecDeque<PathRequest>>>,
}

fn dialogs(ctx: &Context) -> Dialogs {
    ctx.data_mut(|data| data.get_temp_mut_or_default::<Dialogs>(Id::NULL).clone())
}

/// Sets whether dialogs are the system's.
pub fn use_system_dialogs(ctx: &Context, system: bool) {
    ctx.data_mut(|data| data.get_temp_mut_or_default::<Dialogs>(Id::NULL).system = system);
}

/// Returns the next path that the window is to ask for.
pub fn next_request(ctx: &Context) -> Option<PathRequest> {
    let requests = dialogs(ctx).requests;
    let mut requests = requests.lock().unwrap_or_else(PoisonError::into_inner);
    requests.pop_front()
}

/// Whether the system has dialogs.
pub fn available() -> bool {
    if !cfg!(any(target_os = "linux", target_os = "freebsd")) {
        return true;
    }
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let bus = variable("DBUS_SESSION_BUS_ADDRESS").is_some()
        || variable("XDG_RUNTIME_DIR")
            .is_some_and(|folder| PathBuf::from(folder).join("bus").exists());
    let data = variable("XDG_DATA_DIRS").unwrap_or_else(|| "/usr/local/share:/usr/share".into());
    let portal = std::env::split_paths(&data).any(|folder| {
        let service = "dbus-1/services/org.freedesktop.portal.Desktop.service";
        folder.join(service).exists()
    });
    let programs = variable("PATH").unwrap_or_default();
    bus && portal || std::env::split_paths(&programs).any(|folder| folder.join("zenity").exists())
}

impl FileDialog {
    /// Returns a dialog of a window. Its methods block, so they belong on a thread of their own.
    pub fn new(ctx: &Context) -> FileDialog {
        FileDialog {
            ctx: ctx.clone(),
            title: String::new(),
            filters: vec![],
            folder: None,
            file_name: String::new(),
        }
    }

    /// Sets the folder to begin in, where the system has a dialog.
    pub fn set_directory(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// Sets the heading.
    pub fn set_title(mut self, title: &str) -> Self {
        self.title = title.into();
        self
    }

    /// Shows only files with these extensions.
    pub fn add_filter(mut self, name: &str, extensions: &[&str]) -> Self {
        let extensions = extensions.iter().map(|text| text.to_string()).collect();
        self.filters.push((name.into(), extensions));
        self
    }

    /// Proposes the name of a file to write.
    pub fn set_file_name(mut self, name: &str) -> Self {
        self.file_name = name.into();
        self
    }

    /// Lets the user choose an existing file.
    pub fn pick_file(self) -> Option<PathBuf> {
        match self.is_system() {
            true => self.system().pick_file(),
            false => self.ask(Choice::File),
        }
    }

    /// Lets the user choose existing files.
    pub fn pick_files(self) -> Option<Vec<PathBuf>> {
        match self.is_system() {
            true => self.system().pick_files(),
            false => self.ask(Choice::File).map(|path| vec![path]),
        }
    }

    /// Lets the user choose an existing folder.
    pub fn pick_folder(self) -> Option<PathBuf> {
        match self.is_system() {
            true => self.system().pick_folder(),
            false => self.ask(Choice::Folder),
        }
    }

    /// Lets the user choose where to write a file.
    pub fn save_file(self) -> Option<PathBuf> {
        match self.is_system() {
            true => self.system().save_file(),
            false => self.ask(Choice::Save),
        }
    }

    fn is_system(&self) -> bool {
        dialogs(&self.ctx).system
    }

    fn system(&self) -> rfd::FileDialog {
        let mut dialog = rfd::FileDialog::new().set_title(&self.title);
        for (name, extensions) in &self.filters {
            dialog = dialog.add_filter(name, extensions);
        }
        if let Some(folder) = &self.folder {
            dialog = dialog.set_directory(folder);
        }
        match self.file_name.is_empty() {
            true => dialog,
            false => dialog.set_file_name(&self.file_name),
        }
    }

    /// Has the window ask for a path.
    fn ask(self, choice: Choice) -> Option<PathBuf> {
        let (answer, path) = channel();
        let request = PathRequest {
            title: self.title,
            choice,
            file_name: self.file_name,
            answer,
        };
        let requests = dialogs(&self.ctx).requests;
        let mut requests = requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.push_back(request);
        drop(requests);
        self.ctx.request_repaint();
        path.recv().ok().flatten()
    }
}
