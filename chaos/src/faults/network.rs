//! The wires between the processes, the database and the gateway are slow, or carry nothing.

use std::time::Duration;

use anyhow::Result;
use rand::RngExt as _;
use tokio::time::{Instant, sleep};

use super::Scene;
use crate::fleet::Wires;
use crate::proxy::{Healing, Mode, Proxy};

const SLOW_FOR: Duration = Duration::from_millis(1_500);
/// The shortest and, below, the longest silence: at times shorter than a lease, at times longer.
const SILENT_FROM: Duration = Duration::from_millis(300);
const SILENT_TO: Duration = Duration::from_millis(3_500);

/// How long it may take until a worker sends something to a gateway that is cut off.
const CUT_PATIENCE: Duration = Duration::from_mins(2);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Delays every piece to and from the database by up to a tenth of a second, for a while.
pub(super) async fn slow_the_database(scene: &mut Scene<'_>) -> Result<()> {
    let delay = Duration::from_millis(scene.dice.random_range(5..100));
    let Some(wires) = &scene.fleet.wires else { return Ok(()) };
    let before = touched(wires);
    for wire in [&wires.workers_to_database, &wires.apis_to_database] {
        wire.set(Mode::Delay(delay));
    }
    sleep(SLOW_FOR).await;
    for wire in [&wires.workers_to_database, &wires.apis_to_database] {
        wire.set(Mode::Pass);
    }
    let delayed = touched(wires) - before;
    scene.fired("pieces delayed on their way to or from the database", delayed);
    Ok(())
}

/// Makes one wire, or all of them, carry nothing for a while. After that, the open connections go on, are
/// closed, or stay dead.
pub(super) async fn part(scene: &mut Scene<'_>) -> Result<()> {
    let which = scene.one_of(4);
    let silence = scene.dice.random_range(SILENT_FROM..SILENT_TO);
    let healing = [Healing::Resume, Healing::Reset, Healing::Dead][scene.one_of(3)];
    let Some(wires) = &scene.fleet.wires else { return Ok(()) };
    let all = wires.all();
    let parted: &[&Proxy] = all.get(which..=which).unwrap_or(&all);
    let before = touched(wires);
    parted.iter().for_each(|wire| wire.set(Mode::Hold));
    sleep(silence).await;
    let held = touched(wires) - before;
    parted.iter().for_each(|wire| wire.heal(healing));
    scene.fired("partitions", 1);
    scene.fired("pieces and connections held up by a partition", held);
    Ok(())
}

/// What a cut of the gateway's wire must have done to count as one.
pub(crate) const CUT: [&str; 3] = [
    "connections to the gateway cut",
    "connections to the gateway refused",
    "bytes to or from the gateway swallowed",
];

/// Cuts the gateway off for as long as planned: in the first half nothing says so, in the second everything
/// does. Each half lasts until it has done something, because it must do so under load.
pub(super) async fn cut_the_gateway_off(scene: &mut Scene<'_>) {
    let Some(wires) = &scene.fleet.wires else { return };
    let wire = &wires.workers_to_gateway;
    let (began, lasts) = (Instant::now(), scene.plan.duration.unwrap_or_default());
    let before = wire.lost();

    wire.set(Mode::Swallow);
    pass(began + lasts / 2, || wire.lost().swallowed > before.swallowed).await;
    wire.set(Mode::Refuse);
    pass(began + lasts, || wire.lost().refused > before.refused).await;
    wire.heal(Healing::Reset);

    let (lost, lasted) = (wire.lost(), began.elapsed());
    let [cut, refused, swallowed] = CUT;
    scene.fired("seconds during which the gateway was cut off", lasted.as_secs());
    scene.fired(cut, lost.cut - before.cut);
    scene.fired(refused, lost.refused - before.refused);
    scene.fired(swallowed, lost.swallowed - before.swallowed);
}

/// Waits until that time, and then until something was done. It gives up after a while, as the report names
/// what was not done.
async fn pass(until: Instant, is_done: impl Fn() -> bool) {
    let give_up = until + CUT_PATIENCE;
    while Instant::now() < until || !is_done() && Instant::now() < give_up {
        sleep(LOOK_EVERY).await;
    }
}

fn touched(wires: &Wires) -> u64 {
    wires.all().iter().map(|wire| wire.touched()).sum()
}
