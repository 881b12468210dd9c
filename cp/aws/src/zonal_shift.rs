//! ARC zonal shift: REST with JSON.
