//! x
fn main() {
    println!("{}", serde_saphyr::to_string(&pytorchjob_operator::api::crd()).unwrap());
}
