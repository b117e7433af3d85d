//! The meaning of Sigma values, written out from the specification.
