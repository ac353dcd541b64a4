//! The operator's page over HTTP: who gets in, what is shown, and that no request from elsewhere
//! does anything.

use domain::ids::PaymentId;
use reqwest::Method;
use tests::client::send;
use tests::{Answer, Shape, System, a_payment};

use super::{ADMIN_KEY, a_wrong_amount, breaks, version, void_at_the_gateway};
use crate::PROGRAM;
use crate::risk::{large, review_large};

/// A request as Ada's browser sends it.
fn asks(system: &System, method: Method, path: &str) -> reqwest::RequestBuilder {
    asks_as("ada", system, method, path)
}

fn asks_as(user: &str, system: &System, method: Method, path: &str) -> reqwest::RequestBuilder {
    let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let url = format!("{}{path}", system.apis[0].address("ops"));
    http.request(method, url).basic_auth(user, Some(ADMIN_KEY))
}

pub(super) async fn get(system: &System, path: &str) -> Answer {
    send(asks(system, Method::GET, path)).await
}

/// A request as a form of the page sends it, with these fields.
pub(super) fn form(system: &System, path: &str, fields: &str) -> reqwest::RequestBuilder {
    form_of("ada", "same-origin", system, path).body(fields.to_owned())
}

/// A request as that user's browser sends a form of a page from there.
pub(super) fn form_of(user: &str, site: &str, system: &System, path: &str) -> reqwest::RequestBuilder {
    asks_as(user, system, Method::POST, path)
        .header("content-type", "application/x-www-form-urlencoded")
        .header("sec-fetch-site", site)
}

pub(super) fn text(answer: &Answer) -> String {
    String::from_utf8(answer.body.clone()).unwrap()
}

pub(super) async fn an_api() -> System {
    System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await
}

#[tokio::test]
async fn the_operators_page_is_shown_to_nobody_without_the_admin_key() {
    let system = an_api().await;
    for path in [
        "/ops",
        "/ops/payments",
        "/ops/accounts",
        "/ops/transfers",
        "/ops/breaks",
        "/ops/dead-letters",
        "/ops/style.css",
        "/ops/nothing",
    ] {
        for (key, status) in [("", 401), ("wrong", 401), (system.client.secret(), 403)] {
            let url = format!("{}{path}", system.apis[0].address("ops"));
            let answer = send(reqwest::Client::new().get(url).basic_auth("ada", Some(key))).await;

            answer.assert_status(status);
        }
    }
    assert_eq!(system.client.get("/ops").await.status, 404);
}

#[tokio::test]
async fn every_page_loads_nothing_from_elsewhere_runs_no_script_and_is_not_kept() {
    let system = System::start(PROGRAM).await;
    let (id, _) = a_wrong_amount(&system).await;
    let payment = format!("/ops/payments/{id}");
    for (path, status) in [
        ("/ops", 200),
        ("/ops/payments", 200),
        (&*payment, 200),
        ("/ops/breaks", 200),
        ("/ops/breaks?closed=1", 200),
        ("/ops/dead-letters", 200),
        ("/ops/dead-letters?closed=1", 200),
        ("/ops/corrections", 200),
        ("/ops/corrections?closed=1", 200),
        ("/ops/accounts", 200),
        ("/ops/transfers", 200),
        ("/ops/transfers?state=pending", 200),
        ("/ops/accounts/nothing", 404),
        ("/ops/transfers/nothing", 404),
        ("/ops/nothing", 404),
        ("/ops/payments/nothing", 404),
    ] {
        let answer = get(&system, path).await;

        answer.assert_status(status);
        assert!(answer.header("content-security-policy").starts_with("default-src 'none'"), "{path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
        let page = text(&answer);
        assert!(
            !page.contains("<script") && !page.contains("style=") && !page.contains("://"),
            "{path}: {page}"
        );
    }
}

#[tokio::test]
async fn what_merchants_wrote_is_shown_as_text() {
    let system = an_api().await;
    let nasty = "<script>alert(1)</script>\"'&";
    let id = system.accepted(a_payment().customer(nasty).with("description", nasty.into())).await;

    for path in ["/ops/payments".to_owned(), format!("/ops/payments/{id}")] {
        let page = text(&get(&system, &path).await);

        assert!(!page.contains("<script"), "{page}");
        assert!(page.contains("&#60;script&#62;alert(1)"), "{page}");
    }
}

#[tokio::test]
async fn the_list_is_filtered_and_paged_over_all_merchants() {
    let system = an_api().await;
    let other = system.another_merchant("other").await;
    let theirs = other.pay(a_payment().customer("cus a&b")).await.payment_id();
    let mut ours = Vec::new();
    for _ in 0..51 {
        ours.push(system.accepted(a_payment()).await);
    }
    let shown = async |path: &str| {
        let page = text(&get(&system, path).await);
        let ids: Vec<PaymentId> =
            page.split("title=\"").skip(1).filter_map(|it| it.split('"').next()?.parse().ok()).collect();
        (ids, page)
    };

    let (newest, page) = shown("/ops/payments?state=pending").await;
    let older = page.split_once("before=").unwrap().1.split('"').next().unwrap();
    let (rest, _) = shown(&format!("/ops/payments?state=pending&before={older}")).await;

    assert_eq!(newest, ours.iter().rev().take(50).copied().collect::<Vec<_>>());
    assert_eq!(rest, [ours[0], theirs]);
    for (filter, expected) in [
        ("merchant=other", vec![theirs]),
        ("customer=cus+a%26b", vec![theirs]),
        ("customer=cus+a%26b&state=pending&merchant=other", vec![theirs]),
        ("customer=cus+a%26b&state=succeeded", vec![]),
        ("customer=cus+a%26b&merchant=first", vec![]),
        ("state=held", vec![]),
        ("state=succeeded", vec![]),
        ("merchant=nobody", vec![]),
        ("state=paid", vec![]),
        ("customer=%00", vec![]),
    ] {
        assert_eq!(shown(&format!("/ops/payments?{filter}")).await.0, expected, "{filter}");
    }
}

#[tokio::test]
async fn an_id_leads_to_its_payment() {
    let system = an_api().await;
    let id = system.accepted(a_payment()).await;

    for typed in [id.to_string(), format!("+{id}+"), id.uuid().to_string()] {
        let answer = get(&system, &format!("/ops/payments?id={typed}")).await;

        answer.assert_status(303);
        assert_eq!(answer.header("location"), format!("/ops/payments/{id}"));
    }
    assert!(text(&get(&system, "/ops/payments?id=pay_1").await).contains("no payment"));
}

#[tokio::test]
async fn nothing_is_decided_from_elsewhere_or_without_a_name() {
    let system = System::start(PROGRAM).await;
    let (id, held) = a_wrong_amount(&system).await;
    let path = format!("/ops/payments/{id}");
    void_at_the_gateway(&system, id).await;
    let fields = format!("version={held}&decision=reverse&reason=because");
    let post_as = |user| {
        asks_as(user, &system, Method::POST, &path)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(fields.clone())
    };
    let post = || post_as("ada");

    for request in [
        post(),
        post().header("sec-fetch-site", "cross-site"),
        post().header("sec-fetch-site", "same-site"),
        post().header("origin", "https://elsewhere.example"),
        post_as("").header("sec-fetch-site", "same-origin"),
    ] {
        send(request).await.assert_status(403);
    }

    assert_eq!(version(&system.client.payment(id).await), held);
    let here = system.apis[0].address("ops").to_owned();
    send(post().header("origin", here)).await.assert_status(303);
    assert_eq!(system.client.payment(id).await["status"], "reversed");
}

#[tokio::test]
async fn a_form_that_cannot_be_used_comes_back_as_it_was_filled_in() {
    let system = System::start(PROGRAM).await;
    let (id, held) = a_wrong_amount(&system).await;
    let path = format!("/ops/payments/{id}");
    for (fields, complaint) in [
        ("decision=succeed&reason=seen+it", "the charge&#39;s id must be"),
        ("decision=succeed&charge_id=+&reason=seen+it", "the charge&#39;s id must be"),
        ("decision=void+unproven&reason=seen+it", "without proof goes only with"),
        ("decision=fail&reason=+", "the reason must say why"),
        ("decision=&reason=seen+it", "say what is to happen"),
        ("decision=pending&reason=seen+it", "say what is to happen"),
    ] {
        let answer = send(form(&system, &path, &format!("version={held}&{fields}"))).await;

        answer.assert_status(400);
        let page = text(&answer);
        assert!(page.contains(complaint), "{fields}: {page}");
        assert!(!fields.contains("seen+it") || page.contains(">seen it</textarea>"), "{fields}: {page}");
    }
    assert_eq!(version(&system.client.payment(id).await), held);
}

#[tokio::test]
async fn whoever_decides_too_late_is_told_and_decides_nothing() {
    let system = System::start(PROGRAM).await;
    let (id, held) = a_wrong_amount(&system).await;
    let path = format!("/ops/payments/{id}");

    void_at_the_gateway(&system, id).await;

    let first = send(form(&system, &path, &format!("version={held}&decision=reverse&reason=first"))).await;
    let second = send(form(&system, &path, &format!("version={held}&decision=fail&reason=second"))).await;

    first.assert_status(303);
    second.assert_status(409);
    assert!(text(&second).contains("somebody was faster"), "{}", text(&second));
    assert_eq!(system.client.payment(id).await["status"], "reversed");
    assert_eq!(breaks(&system, id).await, (0, vec!["ada: first".to_owned()]));
}

#[tokio::test]
async fn a_break_is_closed_on_its_page_with_a_reason() {
    let system = System::start(PROGRAM).await;
    let id = system.accepted(a_payment()).await;
    system.ended(id).await;
    let open = "insert into breaks (payment_id, kind, detail, opened_at) values ($1, 'charged_after_end', '{}', now())
                returning id";
    let number: i64 =
        sqlx::query_scalar(open).bind(id.uuid()).fetch_one(&system.database.pool).await.unwrap();
    let path = format!("/ops/breaks/{number}");
    assert!(text(&get(&system, "/ops/breaks").await).contains(&path));

    let unreasoned = send(form(&system, &path, "reason=")).await;
    let closed = send(form(&system, &path, "reason=refunded+by+the+bank")).await;
    let again = send(form(&system, &path, "reason=again")).await;

    assert_eq!([unreasoned.status, closed.status, again.status], [400, 303, 409]);
    assert_eq!(breaks(&system, id).await, (0, vec!["ada: refunded by the bank".to_owned()]));
    assert!(text(&get(&system, "/ops/breaks?closed=1").await).contains("refunded by the bank"));
    assert!(text(&get(&system, "/ops/breaks").await).contains("None is open"));
}

#[tokio::test]
async fn the_overview_says_what_needs_a_person() {
    let system = System::start(PROGRAM).await;
    let quiet = text(&get(&system, "/ops").await);
    let (_, _) = a_wrong_amount(&system).await;
    review_large(&system).await;
    system.accepted(large()).await;

    let page = text(&get(&system, "/ops").await);

    assert!(quiet.contains("nothing waits for a person"), "{quiet}");
    assert!(page.contains("Needs a look: 1 held, 1 open review, 1 open break."), "{page}");
}
