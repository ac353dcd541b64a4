//! New accounts, each once per key.

use domain::account::{OPEN_ACCOUNT, OPEN_ACCOUNT_AS_ADMIN, fingerprint_of_account};
use domain::idempotency::{Key, RENDERER};
use domain::ids::{AccountId, MerchantId};
use domain::money::Currency;
use rust_decimal::Decimal;
use sqlx::PgPool;

use super::moving::TakenKey;
use crate::database::{InTime as _, durable};

/// An account to open, checked.
#[derive(Debug, Clone)]
pub struct NewAccount {
    /// The id that the account will have, if its key is free.
    pub id: AccountId,
    /// The merchant whose book it belongs to.
    pub merchant: MerchantId,
    /// The currency of all that ever moves there.
    pub currency: Currency,
    /// The merchant's own word for whose account it is.
    pub owner: String,
    /// The number or name that another system knows it by.
    pub external_id: Option<String>,
    /// Whether it may owe: money comes into the book through such accounts. Only an administrator opens them.
    pub allow_negative: bool,
    /// The client's key.
    pub key: Key,
    /// Whether an administrator asks. The same key of the merchant's own is another one.
    pub is_asked_by_admin: bool,
}

impl NewAccount {
    /// The key that the account takes.
    #[must_use]
    pub fn taken_key(&self) -> TakenKey {
        TakenKey {
            operation: if self.is_asked_by_admin { OPEN_ACCOUNT_AS_ADMIN } else { OPEN_ACCOUNT },
            scope: self.owner.clone(),
            key: self.key.clone(),
            fingerprint: fingerprint_of_account(
                self.currency.code(),
                &self.owner,
                self.allow_negative,
                self.external_id.as_deref(),
            ),
        }
    }
}

/// Opens the account if its key is free, and says whether it did.
///
/// # Errors
/// The database's error; then nothing was opened. If the connection broke, it may be: ask again under the
/// same key.
pub async fn open(pool: &PgPool, account: &NewAccount) -> sqlx::Result<bool> {
    let taken = account.taken_key();
    let statement = sqlx::query_file_scalar!(
        "queries/account_open.sql",
        account.merchant.uuid(),
        taken.operation,
        taken.scope,
        taken.key.as_str(),
        &taken.fingerprint,
        RENDERER,
        account.id.uuid(),
        account.currency.code(),
        account.allow_negative,
        Decimal::new(0, account.currency.digits()).to_string(),
        account.external_id
    );
    Ok(durable("open_account", statement.fetch_optional(pool).in_time()).await?.is_some())
}

/// Whether that is the database's answer to an `external_id` that another account of the merchant has.
#[must_use]
pub fn external_id_is_taken(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|it| it.constraint()) == Some("accounts_one_each")
}

/// Whether there is such a merchant.
///
/// # Errors
/// Returns the database's error.
pub async fn is_merchant(pool: &PgPool, id: MerchantId) -> sqlx::Result<bool> {
    let found =
        sqlx::query_scalar!("select exists (select from merchants where id = $1) as \"exists!\"", id.uuid());
    found.fetch_one(pool).in_time().await
}
