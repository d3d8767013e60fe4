//! Pages as Chromium shows them.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use pytorchjob_test_cluster::repository;
use tokio::process::Command;

/// A page, and where Chromium keeps what it needs.
pub struct Page<'a> {
    pub directory: &'a Path,
    pub file: &'a Path,
}

impl Page<'_> {
    /// The page as HTML, after it was laid out.
    pub async fn shown(&self) -> String {
        self.chromium(&["--dump-dom"]).await
    }

    /// The picture `name` of the page, so wide and so high, as it looks where the user prefers this colour scheme
    /// (`light` or `dark`). With `SCREENSHOTS` in the environment it is in docs/images, too.
    pub async fn picture(&self, name: &str, scheme: &str, [width, height]: [u32; 2]) -> PathBuf {
        let file = self.directory.join(name);
        let dark = scheme == "dark";
        let arguments = [
            format!("--blink-settings=preferredColorScheme={}", u8::from(!dark)),
            format!("--window-size={width},{height}"),
            format!("--screenshot={}", file.display()),
        ];
        self.chromium(&arguments.each_ref().map(String::as_str)).await;
        if env::var_os("SCREENSHOTS").is_some() {
            let images = repository().join("docs/images");
            fs::create_dir_all(&images).unwrap();
            fs::copy(&file, images.join(name)).unwrap();
        }
        file
    }

    /// What Chromium prints when it is called with these arguments.
    async fn chromium(&self, arguments: &[&str]) -> String {
        let program = env::var("CHROMIUM").unwrap_or_else(|_| "chromium".to_owned());
        let profile = format!("--user-data-dir={}", self.directory.display());
        let always = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            &profile,
        ];
        let page = format!("file://{}", self.file.display());
        let mut command = Command::new(&program);
        let output = command.args(always).args(arguments).arg(page).output().await;
        let output = output.unwrap_or_else(|error| panic!("{program} (apt-get install chromium): {error}"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}
