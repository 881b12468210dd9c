//! Signatures, version 4: checks of requests.
