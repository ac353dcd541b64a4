//! The batcher alone: its decisions in every interleaving, and its tasks with work that waits to be told.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Semaphore, mpsc};

use super::*;

/// Work that shows each batch as it arrives, and does it when told to.
struct Scripted {
    arrived: mpsc::UnboundedSender<Vec<u32>>,
    may_go_on: Arc<Semaphore>,
}

#[derive(Debug, thiserror::Error)]
#[error("{0:?}")]
struct Trouble(Remedy);

impl HasRemedy for Trouble {
    fn remedy(&self) -> Remedy {
        self.0
    }
}

/// The items of the first owner are smaller than this, those of the second one smaller than twice this.
const OF_EACH: u32 = 1_000_000;

/// An item that fails every batch with it.
const BAD: u32 = 666;
/// An item that fails every batch with it, and has no remedy.
const HOPELESS: u32 = 667;
/// An item whose batch ends in a panic.
const PANICS: u32 = 668;

impl Work for Scripted {
    type Item = u32;
    type Answer = String;
    type Error = Trouble;

    fn owner(item: &u32) -> Owner {
        u64::from(item / OF_EACH)
    }

    async fn work(&self, items: &[u32]) -> Result<Vec<String>, Trouble> {
        self.arrived.send(items.to_vec()).unwrap();
        self.may_go_on.acquire().await.unwrap().forget();
        assert!(!items.contains(&PANICS));
        if items.contains(&BAD) {
            return Err(Trouble(Remedy::OneByOne));
        }
        if items.contains(&HOPELESS) {
            return Err(Trouble(Remedy::None));
        }
        Ok(items.iter().map(|item| format!("did {item}")).collect())
    }
}

struct Lab {
    batcher: Batcher<Scripted>,
    arrived: mpsc::UnboundedReceiver<Vec<u32>>,
    may_go_on: Arc<Semaphore>,
}

impl Lab {
    fn new(batch: usize, capacity: usize) -> Self {
        let (tell, arrived) = mpsc::unbounded_channel();
        let may_go_on = Arc::new(Semaphore::new(0));
        let work = Scripted { arrived: tell, may_go_on: may_go_on.clone() };
        let line = Arc::new(Mutex::new(Line::new(batch, capacity)));
        Self { batcher: Batcher { work: Arc::new(work), line }, arrived, may_go_on }
    }

    /// Hands an item in, and comes back once it is in the line.
    async fn submit(&self, item: u32) -> tokio::task::JoinHandle<Answered<Scripted>> {
        let batcher = self.batcher.clone();
        let mut submitted = Box::pin(async move { batcher.submit(item).await });
        match futures::poll!(&mut submitted) {
            std::task::Poll::Ready(answer) => tokio::spawn(async { answer }),
            std::task::Poll::Pending => tokio::spawn(submitted),
        }
    }

    async fn batch(&mut self) -> Vec<u32> {
        self.arrived.recv().await.unwrap()
    }

    fn go_on(&self) {
        self.may_go_on.add_permits(1);
    }
}

fn done(answer: Result<Answered<Scripted>, tokio::task::JoinError>) -> String {
    answer.unwrap().unwrap()
}

#[tokio::test]
async fn a_lone_item_leaves_at_once_and_a_crowd_leaves_together_in_the_order_of_its_coming() {
    let mut lab = Lab::new(10, 100);
    let first = lab.submit(1).await;
    assert_eq!(lab.batch().await, [1]);
    let crowd = [lab.submit(2).await, lab.submit(3).await, lab.submit(4).await];
    lab.go_on();
    assert_eq!(lab.batch().await, [2, 3, 4]);
    lab.go_on();

    assert_eq!(done(first.await), "did 1");
    for (submitted, answer) in crowd.into_iter().zip(["did 2", "did 3", "did 4"]) {
        assert_eq!(done(submitted.await), answer);
    }
}

/// What waits on the way of an item before it is handed in: so many turns of the other tasks.
async fn after_turns(turns: u32) {
    for _ in 0..turns {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn tasks_that_need_no_more_than_their_turns_leave_together_and_what_comes_later_is_not_waited_for() {
    let mut lab = Lab::new(10, 100);
    for (item, turns) in [(0, 0), (1, 1), (2, 1), (3, 2)] {
        let batcher = lab.batcher.clone();
        tokio::spawn(async move {
            after_turns(turns).await;
            batcher.submit(item).await
        });
    }
    let (later, batcher) = (Arc::new(Semaphore::new(0)), lab.batcher.clone());
    let waits = later.clone();
    tokio::spawn(async move {
        waits.acquire().await.unwrap().forget();
        batcher.submit(4).await
    });

    let mut together = lab.batch().await;
    together.sort_unstable();
    assert_eq!(together, [0, 1, 2, 3]);
    later.add_permits(1);
    lab.go_on();
    assert_eq!(lab.batch().await, [4]);
}

#[tokio::test]
async fn between_two_batches_no_task_is_waited_for() {
    let mut lab = Lab::new(10, 100);
    let batcher = lab.batcher.clone();
    let hands_in_two = tokio::spawn(async move {
        batcher.submit(0).await.unwrap();
        batcher.submit(2).await
    });
    assert_eq!(lab.batch().await, [0]);
    let one = lab.submit(1).await;
    lab.go_on();
    assert_eq!(lab.batch().await, [1], "not with what the task hands in that was just answered");
    lab.go_on();
    assert_eq!(lab.batch().await, [2]);
    lab.go_on();
    assert_eq!(done(one.await), "did 1");
    assert_eq!(done(hands_in_two.await), "did 2");
}

#[tokio::test]
async fn a_batch_is_bounded_and_what_comes_first_leaves_first() {
    let mut lab = Lab::new(2, 100);
    let mut submitted = vec![lab.submit(0).await];
    assert_eq!(lab.batch().await, [0]);
    for item in 1..=5 {
        submitted.push(lab.submit(item).await);
    }
    for batch in [vec![1, 2], vec![3, 4], vec![5]] {
        lab.go_on();
        assert_eq!(lab.batch().await, batch);
    }
    lab.go_on();
    for (item, submitted) in submitted.into_iter().enumerate() {
        assert_eq!(done(submitted.await), format!("did {item}"));
    }
}

#[tokio::test]
async fn what_comes_behind_the_flood_of_another_owner_leaves_with_the_next_batch() {
    const FIRST: u32 = 1_000;
    const FLOOD: u32 = 2_000;
    let mut lab = Lab::new(BATCH, CAPACITY);
    let mut submitted = vec![lab.submit(0).await];
    assert_eq!(lab.batch().await, [0]);
    for item in FIRST..FIRST + FLOOD {
        submitted.push(lab.submit(item).await);
    }
    let other: Vec<u32> = (0..5).map(|n| OF_EACH + n).collect();
    for &item in &other {
        submitted.push(lab.submit(item).await);
    }

    lab.go_on();

    let next = lab.batch().await;
    assert_eq!(next.len(), BATCH);
    let is_other = |item: &u32| *item >= OF_EACH;
    assert_eq!(next.iter().copied().filter(is_other).collect::<Vec<_>>(), other, "not among the next batch");
    let of_flood = (FIRST..).take(BATCH - other.len()).collect::<Vec<u32>>();
    assert_eq!(next.into_iter().filter(|item| !is_other(item)).collect::<Vec<_>>(), of_flood);
    lab.may_go_on.add_permits(8);
    for submitted in submitted {
        assert!(submitted.await.unwrap().is_ok());
    }
}

#[tokio::test]
async fn one_owner_cannot_take_the_last_quarter_of_the_places() {
    let mut lab = Lab::new(10, 100);
    let first = lab.submit(0).await;
    assert_eq!(lab.batch().await, [0]);
    let mut flood = Vec::new();
    for item in 1..=75 {
        flood.push(lab.submit(item).await);
    }
    assert!(matches!(lab.submit(76).await.await.unwrap(), Err(Refused::Full)));
    let mut others = Vec::new();
    for item in 0..25 {
        others.push(lab.submit(OF_EACH + item).await);
    }
    assert!(
        matches!(lab.submit(2 * OF_EACH).await.await.unwrap(), Err(Refused::Full)),
        "all places are taken"
    );

    lab.may_go_on.add_permits(100);
    for submitted in flood.into_iter().chain(others).chain([first]) {
        assert!(submitted.await.unwrap().is_ok());
    }
}

/// Whatever comes in whatever order: nothing is lost, no batch is too large, each owner's items keep their
/// order, and nobody who waits is passed over for a second item of somebody else.
#[test]
fn owners_take_turns_whatever_comes() {
    let mut state = 42_u64;
    let mut random = move |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    for _ in 0..2_000 {
        let batch = usize::try_from(1 + random(8)).unwrap();
        let mut line = Line::new(batch, 64);
        let (mut waiting, mut next) = (Vec::<(u64, u64)>::new(), 0);
        for _ in 0..60 {
            if random(3) > 0 {
                next += 1;
                let owner = random(4);
                if line.push(owner, 1, (owner, next)).is_ok() {
                    waiting.push((owner, next));
                }
                continue;
            }
            let taken = line.take();
            assert_eq!(taken.len(), batch.min(waiting.len()));
            let of = |items: &[(u64, u64)], owner| items.iter().filter(|it| it.0 == owner).count();
            for owner in 0..4 {
                let first = waiting.iter().filter(|it| it.0 == owner).take(of(&taken, owner));
                assert!(first.eq(taken.iter().filter(|it| it.0 == owner)), "{owner} out of order");
            }
            let most = (0..4).map(|owner| of(&taken, owner)).max().unwrap();
            for owner in 0..4 {
                let (got, had) = (of(&taken, owner), of(&waiting, owner));
                assert!(got == had || got + 1 >= most, "{owner} got {got} of {had}, another one {most}");
            }
            waiting.retain(|item| !taken.contains(item));
            assert_eq!(line.waiting(), waiting.len());
        }
    }
}

#[tokio::test]
async fn a_bad_item_fails_alone() {
    let mut lab = Lab::new(10, 100);
    let first = lab.submit(1).await;
    assert_eq!(lab.batch().await, [1]);
    let (good, bad, other) = (lab.submit(2).await, lab.submit(BAD).await, lab.submit(3).await);
    lab.may_go_on.add_permits(5);

    assert_eq!(done(first.await), "did 1");
    assert_eq!(done(good.await), "did 2");
    assert_eq!(done(other.await), "did 3");
    assert!(matches!(bad.await.unwrap(), Err(Refused::Failed(_))));
    assert_eq!(lab.batch().await, [2, BAD, 3]);
}

#[tokio::test]
async fn what_nothing_helps_fails_the_batch_and_the_next_one_is_done() {
    let mut lab = Lab::new(10, 100);
    let first = lab.submit(1).await;
    assert_eq!(lab.batch().await, [1]);
    let (good, hopeless) = (lab.submit(2).await, lab.submit(HOPELESS).await);
    lab.may_go_on.add_permits(2);
    assert_eq!(done(first.await), "did 1");
    assert!(matches!(good.await.unwrap(), Err(Refused::Failed(_))));
    assert!(matches!(hopeless.await.unwrap(), Err(Refused::Failed(_))));

    lab.go_on();
    assert_eq!(done(lab.submit(4).await.await), "did 4");
}

#[tokio::test]
async fn who_stops_waiting_stops_neither_its_item_nor_the_others() {
    let mut lab = Lab::new(10, 100);
    let first = lab.submit(1).await;
    assert_eq!(lab.batch().await, [1]);
    let (gone, other) = (lab.submit(2).await, lab.submit(3).await);
    gone.abort();
    first.abort();
    lab.may_go_on.add_permits(2);

    assert_eq!(done(other.await), "did 3");
    assert_eq!(lab.batch().await, [2, 3]);
}

#[tokio::test]
async fn what_waits_is_still_done_when_the_batcher_itself_is_gone() {
    let mut lab = Lab::new(10, 100);
    let first = lab.submit(1).await;
    assert_eq!(lab.batch().await, [1]);
    let second = lab.submit(2).await;
    drop(lab.batcher);
    lab.may_go_on.add_permits(2);

    assert_eq!(done(first.await), "did 1");
    assert_eq!(done(second.await), "did 2");
}

#[tokio::test]
async fn a_full_line_refuses_and_takes_again_once_there_is_room() {
    let mut lab = Lab::new(10, 1);
    let first = lab.submit(1).await;
    assert_eq!(lab.batch().await, [1]);
    let second = lab.submit(2).await;
    assert!(matches!(lab.submit(3).await.await.unwrap(), Err(Refused::Full)));
    lab.may_go_on.add_permits(2);
    assert_eq!(done(first.await), "did 1");
    assert_eq!(done(second.await), "did 2");

    lab.go_on();
    assert_eq!(done(lab.submit(4).await.await), "did 4");
}

#[tokio::test]
async fn a_panic_costs_its_batch_and_none_that_follows() {
    let mut lab = Lab::new(10, 100);
    let panics = lab.submit(PANICS).await;
    assert_eq!(lab.batch().await, [PANICS]);
    let next = lab.submit(1).await;
    lab.may_go_on.add_permits(2);

    assert!(matches!(panics.await.unwrap(), Err(Refused::Lost)));
    assert_eq!(done(next.await), "did 1");
}

/// Every interleaving of two tasks that hand in and work, over one line.
fn every_interleaving(batch: usize) {
    shuttle::check_dfs(
        move || {
            const TASKS: usize = 2;
            let line = Arc::new(shuttle::sync::Mutex::new(Line::new(batch, 10)));
            let done = Arc::new(AtomicUsize::new(0));
            let tasks = (0..TASKS).map(|item| {
                let (line, done) = (line.clone(), done.clone());
                shuttle::thread::spawn(move || {
                    if !line.lock().unwrap().push(0, 1, item).unwrap() {
                        return;
                    }
                    loop {
                        let taken = line.lock().unwrap().take();
                        assert!(taken.len() <= batch);
                        if taken.is_empty() {
                            return;
                        }
                        done.fetch_add(taken.len(), Ordering::Relaxed);
                    }
                })
            });
            for task in tasks.collect::<Vec<_>>() {
                task.join().unwrap();
            }
            let line = line.lock().unwrap();
            assert_eq!((done.load(Ordering::Relaxed), line.waiting()), (TASKS, 0), "an item was forgotten");
            assert!(!line.is_worked_on(), "the line was left to nobody");
        },
        None,
    );
}

#[test]
fn in_every_interleaving_every_item_is_done_once_and_the_line_is_given_back() {
    for batch in [1, 10] {
        every_interleaving(batch);
    }
}
