//! The database comes back from a backup that was taken in the middle of load. Payments after it are
//! forgotten here, but not at the gateway. Clients repeat all their requests, with the same keys. Some have
//! another amount, and some come after the gateway has forgotten the keys.
//!
//! Must hold: nobody is charged twice, by the gateway's own journal, and every charge whose payment is
//! forgotten is named. What was not over ends as the gateway has it, or waits for a person.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use shared::merchant;
use sqlx::{AssertSqlSafe, PgPool};
use tokio::time::sleep;

use super::{Scene, gateway};
use crate::past::{self, Client, Fate, Purchase};
use crate::shops;
use crate::till::{self, count};

/// How often all of it is done in full.
const ROUNDS: usize = 10;

/// Keeps a void that has started from going on before the backup is taken, even where reconciliation pulls
/// it near.
const VOIDS_WAIT: &str = "
    create or replace function chaos_waits() returns trigger language plpgsql as $$
    begin
        new.due_at := clock_timestamp() + interval '1 hour';
        return new;
    end $$;
    create or replace trigger chaos_voids_wait before update on payments for each row
        when (new.void_started_at is not null and new.claim_token is null and new.due_at is not null)
        execute function chaos_waits()";
/// Keeps a doubt from being looked into, or voided, before the backup is taken.
const DOUBTS_WAIT: &str = "
    create or replace trigger chaos_doubts_wait before update on payments for each row
        when (new.in_doubt and new.void_started_at is null and new.claim_token is null and new.due_at is not null)
        execute function chaos_waits()";
const NOTHING_WAITS: &str = "
    drop trigger chaos_voids_wait on payments;
    drop trigger chaos_doubts_wait on payments";
const VOIDS_GO_ON: &str = "
    set session_replication_role = replica;
    update payments set due_at = clock_timestamp()
     where id = (select id from payments where void_started_at is not null and terminal_at is null order by id limit 1)
        or void_started_at is null and in_doubt and terminal_at is null and held_reason is null;
    reset session_replication_role";

/// The voids that have not ended. One of them waits for an hour, unless reconciliation pulls it near.
const VOIDING: &str =
    "select count(*) from payments where void_started_at is not null and terminal_at is null";
/// The other payments that have not ended and are not held.
const UNDER_WAY: &str = "select count(*) from payments where due_at is not null and void_started_at is null";

pub(super) async fn play(scene: &mut Scene<'_>) -> Result<()> {
    let rounds = if scene.plan.is_short { 1 } else { ROUNDS };
    let mut bought = Vec::new();
    for round in 0..rounds {
        let mut now = Round { number: round, bought: Vec::new() };
        now.until_the_backup(scene).await?;
        let dump = past::dump(scene.fleet, round).await?;
        let newcomer = now.after_the_backup(scene).await?;
        now.comes_back(scene, &dump, newcomer).await?;
        now.repeats(scene).await?;
        bought.append(&mut now.bought);
        // All of them, also those of earlier rounds: what was settled stays so.
        repeat_all(scene, &mut bought).await?;
    }
    judge(scene, &bought).await
}

/// One backup that comes back.
struct Round {
    number: usize,
    bought: Vec<Purchase>,
}

impl Round {
    async fn buy(
        &mut self,
        scene: &Scene<'_>,
        (shop, method): (usize, &'static str),
        fate: Fate,
        times: usize,
    ) -> Result<()> {
        let client = Client::of(scene.fleet)?;
        for _ in 0..times {
            let number = self.bought.len();
            let key = format!("round-{}-{number}", self.number);
            let mut purchase = Purchase::new((shop, method), key, number, fate);
            client.post(&mut purchase).await?;
            self.bought.push(purchase);
        }
        Ok(())
    }

    /// Makes payments for the backup: some that succeeded, one that is held, two whose void has started, some
    /// in doubt, some that wait.
    async fn until_the_backup(&mut self, scene: &mut Scene<'_>) -> Result<()> {
        let pool = scene.fleet.pool.clone();
        // Near a return nothing is voided that was not looked at. So this return is moved into the past.
        raw(&pool, "update installation set returned_at = returned_at - interval '2 days'").await?;
        self.buy(scene, (0, "sim_ok"), Fate::Succeeds, 4).await?;
        self.buy(scene, (0, "sim_wrong_amount"), Fate::Held, 1).await?;
        past::all_ended(&pool, 0).await?;
        raw(&pool, VOIDS_WAIT).await?;
        gateway::look_up_nothing(scene.fleet).await?;
        self.buy(scene, (0, "sim_timeout_charged"), Fate::Reversed, 2).await?;
        till::until("voids to start", async || Ok(count(&pool, VOIDING).await? == 2)).await?;
        raw(&pool, DOUBTS_WAIT).await?;
        self.buy(scene, (0, "sim_timeout_charged"), Fate::Succeeds, 1).await?;
        self.buy(scene, (0, "sim_timeout_not_charged"), Fate::Succeeds, 1).await?;
        // The two that are being voided are in doubt, too.
        let doubts =
            "select count(*) from payments where in_doubt and terminal_at is null and held_reason is null";
        till::until("doubts", async || Ok(count(&pool, doubts).await? >= 4)).await?;
        for worker in &mut scene.fleet.workers {
            worker.kill9().await;
        }
        self.buy(scene, (0, "sim_ok"), Fate::Succeeds, 3).await
    }

    /// Lets all of it go on, and pays more, also for a merchant who is made now. Then everything stops.
    async fn after_the_backup(&mut self, scene: &mut Scene<'_>) -> Result<Newcomer> {
        let pool = scene.fleet.pool.clone();
        gateway::behave(scene.fleet).await?;
        raw(&pool, NOTHING_WAITS).await?;
        raw(&pool, VOIDS_GO_ON).await?;
        scene.fleet.heal().await?;
        let name = format!("chaos newcomer {}", self.number);
        let made = merchant::find_or_create(&pool, &name).await?;
        let newcomer = Newcomer { name, id: made.id.to_string(), shop: scene.fleet.secrets.len() };
        scene.fleet.secrets.push(shops::new_key(&pool, made.id).await?);
        self.buy(scene, (0, "sim_ok"), Fate::Adopted, 4).await?;
        self.buy(scene, (newcomer.shop, "sim_ok"), Fate::Adopted, 3).await?;
        self.buy(scene, (0, "sim_ok"), Fate::AnotherAmount, 2).await?;
        self.buy(scene, (0, "sim_ok"), Fate::KeyForgotten, 2).await?;
        till::until("all payments but one void to end, or to be held", async || {
            Ok(count(&pool, UNDER_WAY).await? == 0 && count(&pool, VOIDING).await? <= 1)
        })
        .await?;
        for process in scene.fleet.workers.iter_mut().chain(&mut scene.fleet.apis) {
            process.kill9().await;
        }
        scene.fired("pasts that came back", 1);
        Ok(newcomer)
    }

    /// Restores the backup into a database of its own, and has `payonce restored` say what is forgotten.
    async fn comes_back(
        &self,
        scene: &mut Scene<'_>,
        dump: &std::path::Path,
        newcomer: Newcomer,
    ) -> Result<()> {
        past::restore(scene.fleet, dump, self.number).await?;
        raw(&scene.fleet.pool, NOTHING_WAITS).await?;
        let report = past::payonce(scene.fleet, &["restored", "--by", "chaos", "--json"]).await?;
        let forgotten = self.bought.iter().filter(|it| it.fate.is_forgotten()).count();
        let pool = scene.fleet.pool.clone();
        let named = "select count(*) from orphans o where adopted_by is null
                        and exists (select from breaks b where b.subject = 'key ' || o.key and b.closed_at is null)";
        let (named, before) = (count(&pool, named).await?, scene.measured.get(OPEN).copied().unwrap_or(0));
        scene.demand(named.unsigned_abs() == before + forgotten as u64, || {
            format!("{forgotten} payments are forgotten and {before} were before, but {named} orphans are named: {report}")
        });
        let made = past::payonce(
            scene.fleet,
            &["keys", "create", "--merchant", &newcomer.name, "--merchant-id", &newcomer.id, "--json"],
        )
        .await?;
        let secret = made["secret"].as_str().context("no secret")?.to_owned();
        scene.fleet.secrets[newcomer.shop] = secret;
        Ok(())
    }

    /// Makes the gateway forget some keys, and changes the requests that are to ask for another amount.
    async fn repeats(&mut self, scene: &mut Scene<'_>) -> Result<()> {
        let ids: Vec<String> = self
            .bought
            .iter()
            .filter(|it| it.fate == Fate::KeyForgotten)
            .map(|it| it.ids[0].clone())
            .collect();
        scene.fleet.gateway.kill9().await;
        past::forget_keys(scene.fleet, &ids).await?;
        scene.fleet.heal().await?;
        for purchase in &mut self.bought {
            purchase.is_changed = purchase.fate == Fate::AnotherAmount;
        }
        Ok(())
    }
}

/// A merchant made after the backup.
struct Newcomer {
    name: String,
    id: String,
    shop: usize,
}

/// The name of the figure for orphans that no payment has adopted.
const OPEN: &str = "orphans that nobody repeats as they were";

/// Has every client repeat every request, and waits until everything has ended or is held.
pub(super) async fn repeat_all(scene: &mut Scene<'_>, bought: &mut [Purchase]) -> Result<()> {
    let client = Client::of(scene.fleet)?;
    client.post_all(bought).await?;
    let pool = scene.fleet.pool.clone();
    past::all_ended(&pool, 0).await?;
    // A second charge would have happened by then.
    sleep(Duration::from_millis(300)).await;
    past::all_ended(&pool, 0).await?;
    let open = count(&pool, "select count(*) from orphans where adopted_by is null").await?;
    scene.measured(OPEN, open.unsigned_abs());
    Ok(())
}

/// Whether each purchase ended as it must, and nobody was charged twice.
pub(super) async fn judge(scene: &mut Scene<'_>, bought: &[Purchase]) -> Result<()> {
    let pool = scene.fleet.pool.clone();
    let mut standing: HashMap<String, usize> = HashMap::new();
    for charge in past::standing(scene.fleet.gateway.address()).await? {
        *standing.entry(charge.reference).or_default() += 1;
    }
    let rows: Vec<(String, String)> = sqlx::query_as(
        "select 'pay_' || replace(id::text, '-', ''), coalesce(held_reason, status) from payments",
    )
    .fetch_all(&pool)
    .await?;
    let ended: HashMap<String, String> = rows.into_iter().collect();
    let mut twice = 0;
    for purchase in bought {
        let charges: usize = purchase.ids.iter().map(|id| standing.get(id).copied().unwrap_or(0)).sum();
        twice += u64::from(charges > 1);
        let id = purchase.ids.last().context("a purchase without an id")?;
        let end = ended.get(id).map_or("forgotten", String::as_str);
        scene.demand(purchase.fate.is_met_by(end, charges), || {
            format!(
                "{} ({:?}, {id}) is {end}, with {charges} charges that stand",
                purchase.key, purchase.fate
            )
        });
    }
    scene.measured("purchases charged twice", twice);
    scene.demand(twice == 0, || format!("{twice} purchases were charged twice"));
    let unnamed = "select count(*) from orphans o where adopted_by is null
                    and not exists (select from breaks b where b.subject = 'key ' || o.key and b.closed_at is null)";
    let unnamed = count(&pool, unnamed).await?;
    scene.demand(unnamed == 0, || format!("{unnamed} orphans have no open break"));
    past::remember_all(scene.load, bought)
}

async fn raw(pool: &PgPool, sql: &str) -> Result<()> {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(pool).await?;
    Ok(())
}
