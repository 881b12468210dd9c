//! A token bucket: so many per second, so many at once.

use crate::frame::Now;

/// Allows `rate` events per second and `burst` at once.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    rate_per_s: u64,
    burst: u64,
    /// Thousandths of tokens.
    tokens_milli: u64,
    filled_ms: u64,
}

impl Limit {
    /// A full bucket.
    pub const fn new(rate_per_s: u32, burst: u32) -> Self {
        Self { rate_per_s: rate_per_s as u64, burst: burst as u64, tokens_milli: burst as u64 * 1000, filled_ms: 0 }
    }

    /// Takes a token if there is one.
    pub fn take(&mut self, now: Now) -> bool {
        // Thousandths per millisecond are tokens per second.
        let earned = now.ms.saturating_sub(self.filled_ms).saturating_mul(self.rate_per_s);
        self.tokens_milli = self.tokens_milli.saturating_add(earned).min(self.burst * 1000);
        self.filled_ms = now.ms;
        let taken = self.tokens_milli >= 1000;
        self.tokens_milli -= if taken { 1000 } else { 0 };
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn burst_then_rate() {
        let mut limit = Limit::new(10, 5);
        let taken = |limit: &mut Limit, ms| (0..100).filter(|_| limit.take(Now { ms })).count();
        assert_eq!(taken(&mut limit, 50_000), 5);
        assert_eq!(taken(&mut limit, 50_099), 0);
        assert_eq!(taken(&mut limit, 50_100), 1);
        assert_eq!(taken(&mut limit, 50_600), 5);
        assert_eq!(taken(&mut limit, 90_000), 5);
    }
}
