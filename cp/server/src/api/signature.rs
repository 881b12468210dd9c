//! What a call takes and gives, read from the signature of its handler: so the document of the API says what the server does.

use std::borrow::Cow;

use axum::extract::{Extension, State};
use utoipa::ToSchema;
use utoipa::openapi::{RefOr, Schema};

use super::body::{Answer, Body, Parameters, Params};

/// A type that has a schema.
#[derive(Clone, Copy)]
pub struct Type {
    /// Its name in the document.
    pub name: fn() -> Cow<'static, str>,
    /// Its schema.
    pub schema: fn() -> RefOr<Schema>,
    /// The schemas that it refers to, by name.
    pub others: fn(&mut Vec<(String, RefOr<Schema>)>),
}

impl Type {
    /// That of a type.
    pub fn of<T: ToSchema>() -> Self {
        Self { name: T::name, schema: T::schema, others: T::schemas }
    }
}

/// A handler's types.
#[derive(Clone, Copy)]
pub struct Signature {
    /// The query, an object of parameters.
    pub query: Option<Type>,
    /// The body.
    pub body: Option<Type>,
    /// The body of the answer.
    pub answer: Type,
}

/// A handler's argument.
pub trait Argument {
    /// Adds what it says of the call.
    fn add(_: &mut Signature) {}
}

impl<S> Argument for State<S> {}
impl<T> Argument for Params<T> {}
impl<T> Argument for Extension<T> {}

impl<T: ToSchema> Argument for Parameters<T> {
    fn add(signature: &mut Signature) {
        signature.query = Some(Type::of::<T>());
    }
}

impl<T: ToSchema> Argument for Body<T> {
    fn add(signature: &mut Signature) {
        signature.body = Some(Type::of::<T>());
    }
}

/// A handler whose arguments and answer are known.
pub trait Signed<Arguments> {
    /// Its types.
    fn signature() -> Signature;
}

macro_rules! signed {
    ($(($($argument:ident)*))*) => {$(
        impl<F, Fut, T, $($argument),*> Signed<($($argument,)*)> for F
        where
            F: Fn($($argument),*) -> Fut,
            Fut: Future<Output = Answer<T>>,
            T: ToSchema,
            $($argument: Argument,)*
        {
            fn signature() -> Signature {
                #[allow(unused_mut, reason = "a handler may have no arguments")]
                let mut signature = Signature { query: None, body: None, answer: Type::of::<T>() };
                $($argument::add(&mut signature);)*
                signature
            }
        }
    )*};
}

signed! { () (A) (A B) (A B C) (A B C D) (A B C D E) }

/// The types of a handler.
pub fn of<F: Signed<Arguments>, Arguments>(_: F) -> Signature {
    F::signature()
}
