//! The server of a results tree, asked as browsers and others ask.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use fs_err as fs;
use tunelab::interrupt::Interrupt;
use tunelab::serve::{Server, Tree};

/// A tree with a run under way, and a file beside it that is nobody's business.
fn tree() -> (tempfile::TempDir, SocketAddr) {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("results/lora dog");
    fs::create_dir_all(run.join("samples/base/a-dog")).unwrap();
    fs::write(folder.path().join("secret.txt"), "secret").unwrap();
    fs::write(run.join("plan.toml"), "name = \"lora dog\"\n[eval]\nprompts = [\"a dog\"]\n").unwrap();
    fs::write(run.join("loss.csv"), "step,epoch,loss,lr,grad_norm\n1,1,0.5,0.001,1\n").unwrap();
    fs::write(run.join("samples/base/a-dog/0.png"), "pixels").unwrap();
    fs::write(run.join("page.html"), "<script>alert(1)</script>").unwrap();
    let server =
        Server::bind(Tree::open(&folder.path().join("results")).unwrap(), "127.0.0.1:0".parse().unwrap()).unwrap();
    let address = server.address().unwrap();
    thread::spawn(move || server.run(&Interrupt::default()));
    (folder, address)
}

fn send(address: SocketAddr, text: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    // The other side may refuse before all is written.
    let _ = stream.write_all(text.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn get(address: SocketAddr, path: &str) -> String {
    send(address, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_default()
}

#[test]
fn the_page_its_data_and_files_are_there() {
    let (folder, address) = tree();
    let page = get(address, "/");
    assert!(
        page.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n") && page.contains("lora dog")
    );
    let data = get(address, "/data.json");
    let (head, body) = data.split_once("\r\n\r\n").unwrap();
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["runs"][0]["curves"][0]["y"], serde_json::json!([0.5]));
    let tag = head.split_once("ETag: ").unwrap().1.split("\r\n").next().unwrap();
    let again = send(address, &format!("GET /data.json HTTP/1.1\r\nHost: 127.0.0.1:9\r\nIf-None-Match: {tag}\r\n\r\n"));
    assert!(status(&again) == "304" && again.ends_with("\r\n\r\n"), "{again}");
    let image = get(address, "/lora%20dog/samples/base/a-dog/0.png?x");
    assert!(image.contains("Content-Type: image/png\r\n") && image.ends_with("\r\n\r\npixels"), "{image}");
    let head = send(address, "HEAD /lora%20dog/samples/base/a-dog/0.png HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(head.contains("Content-Length: 6\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    // What others left in the tree runs no script here.
    assert!(get(address, "/lora%20dog/page.html").contains("Content-Security-Policy: sandbox; default-src 'none'"));
    // New steps are there when they are asked for.
    let log = folder.path().join("results/lora dog/loss.csv");
    fs::write(&log, fs::read_to_string(&log).unwrap() + "2,1,0.25,0.001,1\n").unwrap();
    thread::sleep(Duration::from_millis(1100));
    let newer = send(address, &format!("GET /data.json HTTP/1.1\r\nHost: localhost\r\nIf-None-Match: {tag}\r\n\r\n"));
    assert!(status(&newer) == "200" && newer.contains("[0.5,0.25]"), "{newer}");
}

#[test]
fn nothing_outside_of_the_tree_is_read() {
    let (folder, address) = tree();
    let results = folder.path().join("results");
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("../secret.txt", results.join("link.txt")).unwrap();
        std::os::unix::fs::symlink("..", results.join("up")).unwrap();
        std::os::unix::fs::symlink("lora dog/plan.toml", results.join("inside.toml")).unwrap();
        assert_eq!(status(&get(address, "/inside.toml")), "200");
    }
    let secret = folder.path().join("secret.txt");
    let secret = secret.to_string_lossy();
    for path in [
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "/lora%20dog/../../secret.txt",
        "/lora%20dog/%2e%2e/%2e%2e/secret.txt",
        "/..%5csecret.txt",
        "/link.txt",
        "/up/secret.txt",
        &secret,
        &format!("/{secret}"),
        "/",
        "/lora%20dog",
        "/lora%20dog/",
        "/nothing",
        "/%00",
        "//etc/passwd",
    ] {
        let answer = get(address, path);
        assert!(!answer.contains("\r\n\r\nsecret"), "{path}: {answer}");
        assert!(path == "/" || status(&answer) == "404", "{path}: {answer}");
    }
}

#[test]
fn what_is_no_plain_question_is_refused() {
    let (_folder, address) = tree();
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        let answer =
            send(address, &format!("{method} /data.json HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc"));
        assert!(status(&answer) == "405" && answer.contains("Allow: GET, HEAD\r\n"), "{method}: {answer}");
    }
    let host = |host: &str| status(&send(address, &format!("GET / HTTP/1.1\r\n{host}\r\n"))).to_owned();
    assert_eq!(host("Host: evil.example\r\n"), "421");
    assert_eq!(host(""), "421");
    assert_eq!(host("Host: [::1]:7007\r\n"), "200");
    let long = send(address, &format!("GET / HTTP/1.1\r\nHost: localhost\r\nx: {}\r\n\r\n", "a".repeat(1 << 20)));
    assert_eq!(status(&long), "431", "{long}");
    assert_eq!(status(&send(address, "\x16\x03\x01 hello\r\n\r\n")), "400");
    assert_eq!(status(&get(address, "/data.json")), "200");
}

#[test]
fn a_hundred_slow_ones_hold_up_nobody() {
    let (_folder, address) = tree();
    let slow: Vec<TcpStream> = (0..100)
        .map(|_| {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nHost: loc").unwrap();
            stream
        })
        .collect();
    let begun = Instant::now();
    assert_eq!(status(&get(address, "/data.json")), "200");
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    for mut stream in slow {
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert_eq!(status(&String::from_utf8_lossy(&answer)), "408");
    }
    assert_eq!(status(&get(address, "/data.json")), "200");
}

#[test]
fn a_folder_or_a_port_that_cannot_be_had_is_said() {
    let (folder, address) = tree();
    let error = Tree::open(Path::new("no such folder")).unwrap_err();
    assert!(error.to_string().contains("no results folder") && error.exit_code() == 2, "{error}");
    let tree = Tree::open(folder.path()).unwrap();
    let error = Server::bind(tree, address).err().unwrap();
    assert!(error.to_string().contains("--port") && error.exit_code() == 2, "{error}");
}
