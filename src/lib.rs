//! seemore
