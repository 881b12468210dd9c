//! The resources of a load balancer and their rules, sans-IO: no clock, no randomness, no files, no threads.
//!
//! | where to look | for |
//! |---|---|
//! | [`rest`] | the JSON of the API |
//! | [`model`] | the whole configuration, its commands, its stored records |
//! | `load_balancer`, [`listener`], `target_group`, `target` | the rules of each resource |
//! | [`inventory`], `load_balancer/subnets.rs` | what is declared of the network; load balancers in its subnets |
//! | [`shift`] | zonal shifts |
//! | `target/spec.rs`, `selector` | what a request's targets stand for; targets that are instances follow the inventory |
//! | `settings`, [`tags`], `warnings` | attributes and certificates of load balancers and listeners; tags; what is hardly meant |
//! | [`application`], [`classic`] | application load balancers, objects only; Classic ones, carried by hidden objects |
//! | [`attributes`], [`limits`], [`error`], [`ssl_policy`] | tables: attributes, quotas, error codes, security policies |
//! | [`health`] | what a run of check results makes of a target |
//! | [`forward`], [`maglev`] | what the configuration means for packets |
//! | [`zones`] | which zones of a load balancer serve, and are named by DNS |
//! | [`dns`] | the names of load balancers and what they stand for, with flap protection |
//! | [`events`] | what operators are told when a configuration has become another one |
//! | [`slots`] | the numbers that flows refer to |
#![forbid(unsafe_code)]

pub mod access;
pub mod application;
pub mod attributes;
mod capacity;
pub mod certificate;
pub mod check;
pub mod classic;
pub mod declare;
pub mod dns;
pub mod error;
pub mod events;
pub mod forward;
pub mod health;
pub mod ids;
mod interface;
pub mod inventory;
pub mod limits;
pub mod listener;
mod load_balancer;
pub mod maglev;
pub mod model;
pub mod passive;
pub mod resource;
pub mod rest;
mod restore;
mod selector;
mod settings;
pub mod shift;
pub mod slots;
pub mod ssl_policy;
pub mod tags;
mod target;
mod target_group;
#[cfg(test)]
mod tests;
pub mod view;
mod warnings;
pub mod zones;

pub use error::{Code, Error};
pub use ids::Id;
pub use limits::Limits;
pub use model::{Command, Effects, Kind, LoadError, Model, Now, RecordKey, Site};
