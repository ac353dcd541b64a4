//! A real browser: headless Chromium, driven over the W3C `WebDriver` protocol by chromedriver.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use reqwest::Method;
use serde_json::{Value, json};

use crate::guardian;
use crate::wait::{DEADLINE, wait_for, wait_until};

/// The variable that names a directory in which screenshots are kept. Without it, none are.
const SCREENSHOTS: &str = "PAYONCE_TEST_SCREENSHOTS";

/// With these flags it works as root and in a container, asks no other host, and remembers nothing.
const FLAGS: &[&str] = &[
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];

/// How long chromedriver waits for the browser. The first start reads a quarter of a gigabyte, perhaps from a
/// disk that is still busy with its installation.
const STARTUP: Duration = DEADLINE;

/// The name of an element in `WebDriver`'s answers.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser of one test. When it is dropped, it is killed with all its processes.
#[derive(Debug)]
pub struct Browser {
    http: reqwest::Client,
    _driver: Driver,
    /// The session's address at chromedriver.
    session: String,
}

#[derive(Debug)]
struct Driver(Child);

impl Drop for Driver {
    fn drop(&mut self) {
        // The browser is in its driver's group. If the group is gone already, that is as well.
        let _ = killpg(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGKILL);
        self.0.wait().expect("our own child can be waited for");
        guardian::forget_group(self.0.id());
    }
}

impl Browser {
    /// Starts a browser with an empty profile.
    ///
    /// # Panics
    /// Chromium or chromedriver is not installed.
    pub async fn start() -> Self {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let in_scratch = |name: &str| guardian::scratch().join(format!("{name}-{number}"));
        let said = in_scratch("chromedriver");
        let mut driver = spawn_driver(&said);
        let port = wait_for("chromedriver to listen", async || {
            let ended = driver.0.try_wait().expect("our own child can be waited for");
            // Read after the look, so that the last words of a driver that ended are in.
            let said = fs::read_to_string(&said).expect("the scratch directory is readable");
            assert!(ended.is_none(), "chromedriver ended ({ended:?}): {said}");
            let (_, port) = said.split_once("started successfully on port ")?;
            Some(port.split_once('.')?.0.to_owned())
        })
        .await;
        let profile = format!("--user-data-dir={}", in_scratch("profile").display());
        let mut options = json!({
            "args": FLAGS.iter().copied().chain([profile.as_str()]).collect::<Vec<_>>(),
            "browserStartupTimeout": STARTUP.as_millis(),
        });
        if let Some(chromium) =
            ["chromium", "chromium-browser", "google-chrome"].into_iter().find_map(program)
        {
            options["binary"] = json!(chromium);
        }
        let address = format!("http://127.0.0.1:{port}/session");
        let wanted = json!({ "capabilities": { "alwaysMatch": { "goog:chromeOptions": options } } });
        let http = reqwest::Client::new();
        let answer: Value = http
            .post(&address)
            .json(&wanted)
            .send()
            .await
            .expect("chromedriver answers")
            .json()
            .await
            .expect("chromedriver answers with JSON");
        let id = answer["value"]["sessionId"].as_str().unwrap_or_else(|| panic!("no browser: {answer}"));
        Self { http, _driver: driver, session: format!("{address}/{id}") }
    }

    /// Opens a page and waits until it has loaded.
    pub async fn open(&self, url: &str) {
        self.command(Method::POST, "url", json!({ "url": url })).await;
    }

    /// Gives the browser a user and a password for everything at `origin`, as if typed into its dialog.
    pub async fn sign_in(&self, origin: &str, path: &str, user: &str, password: &str) {
        let with_credentials = origin.replacen("://", &format!("://{user}:{password}@"), 1);
        self.open(&format!("{with_credentials}{path}")).await;
        // Opened once more without them: a page with credentials in its address may load nothing by a
        // relative one.
        self.open(&format!("{origin}{path}")).await;
    }

    /// The address of the page.
    pub async fn address(&self) -> String {
        self.command(Method::GET, "url", Value::Null).await.as_str().unwrap_or_default().to_owned()
    }

    /// The visible text of the whole page.
    pub async fn text(&self) -> String {
        let text = self.run("return document.body ? document.body.innerText : ''").await;
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until the page shows this text.
    pub async fn shows(&self, text: &str) {
        wait_until(format!("the page to show {text:?}"), async || self.text().await.contains(text)).await;
    }

    /// Clicks the first element that the CSS selector finds, as a person would: it must be visible.
    pub async fn click(&self, selector: &str) {
        let element = self.find(selector).await;
        self.command(Method::POST, &format!("element/{element}/click"), json!({})).await;
    }

    /// Types into the first element that the CSS selector finds.
    pub async fn type_into(&self, selector: &str, text: &str) {
        let element = self.find(selector).await;
        self.command(Method::POST, &format!("element/{element}/value"), json!({ "text": text })).await;
    }

    /// Runs a script in the page, and answers what it returns.
    pub async fn run(&self, script: &str) -> Value {
        self.command(Method::POST, "execute/sync", json!({ "script": script, "args": [] })).await
    }

    /// Shows the page on a screen of that width, as a phone does where it is narrow.
    pub async fn width(&self, width: u32) {
        let metrics = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.devtools("Emulation.setDeviceMetricsOverride", metrics).await;
    }

    /// Keeps a picture of the whole page, if [`SCREENSHOTS`] is set.
    pub async fn picture(&self, name: &str) {
        let Some(directory) = std::env::var_os(SCREENSHOTS).map(PathBuf::from) else { return };
        let shot = self.devtools("Page.captureScreenshot", json!({ "captureBeyondViewport": true })).await;
        let png = BASE64_STANDARD.decode(shot["data"].as_str().unwrap_or_default()).expect("a picture");
        fs::create_dir_all(&directory).expect("the directory for screenshots can be made");
        fs::write(directory.join(format!("{name}.png")), png).expect("the picture can be written");
    }

    async fn devtools(&self, command: &str, parameters: Value) -> Value {
        self.command(Method::POST, "goog/cdp/execute", json!({ "cmd": command, "params": parameters })).await
    }

    async fn find(&self, selector: &str) -> String {
        let wanted = json!({ "using": "css selector", "value": selector });
        wait_for(format!("the page to have {selector}"), async || {
            let found = self.try_command(Method::POST, "element", &wanted).await.ok()?;
            found[ELEMENT].as_str().map(str::to_owned)
        })
        .await
    }

    async fn command(&self, method: Method, path: &str, body: Value) -> Value {
        let done = self.try_command(method, path, &body).await;
        done.unwrap_or_else(|why| panic!("{path} {body}: {}", why["message"]))
    }

    /// The result of a command, or `WebDriver`'s error.
    async fn try_command(&self, method: Method, path: &str, body: &Value) -> Result<Value, Value> {
        let mut request = self.http.request(method, format!("{}/{path}", self.session));
        if !body.is_null() {
            request = request.json(body);
        }
        let answer = request.send().await.expect("chromedriver answers");
        let is_done = answer.status().is_success();
        let mut answer: Value = answer.json().await.expect("chromedriver answers with JSON");
        let value = answer["value"].take();
        if is_done { Ok(value) } else { Err(value) }
    }
}

fn spawn_driver(said: &Path) -> Driver {
    let output = fs::File::create(said).expect("the scratch directory is writable");
    let driver = program("chromedriver")
        .unwrap_or_else(|| panic!("chromedriver is not installed: run scripts/setup-tests"));
    let mut command = Command::new(driver);
    command.arg("--port=0").stdin(Stdio::null()).stderr(Stdio::null()).stdout(output).process_group(0);
    let child = command.spawn().expect("chromedriver can be started");
    guardian::watch_group(child.id());
    Driver(child)
}

/// The path of a program. None where it is not installed.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|file| file.is_file())
}
