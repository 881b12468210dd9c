use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::time::Instant;

use leat_model::{Command, Id, Limits, Site};

use super::*;
use crate::store::faulty::FaultyDisk;

/// A query for the address of a name, with this id.
fn query(id: u8, name: &str) -> Vec<u8> {
    let mut query = vec![0, id, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(label.len() as u8);
        query.extend(label.as_bytes());
    }
    query.extend([0, 0, 1, 0, 1]);
    query
}

fn wait<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(Instant::now() < end, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// The answer over UDP: id, code, number of answers.
fn ask(address: SocketAddr, id: u8, name: &str) -> Option<(u8, u8, u8)> {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.set_read_timeout(Some(Duration::from_millis(500))).expect("a socket");
    socket.send_to(&query(id, name), address).ok()?;
    let mut answer = [0; 512];
    socket.recv_from(&mut answer).ok()?;
    Some((answer[1], answer[3] & 0xf, answer[7]))
}

/// An address that somebody else has is told and tried again. What is answered follows the model, over UDP and, query after query, TCP.
///
/// req: DNS-02, DNS-10
#[test]
fn the_server_answers_as_soon_as_it_can() {
    let store = FaultyDisk::default().store().expect("a store");
    let state = Arc::new(State::begin(Box::new(store), Site::default(), Limits::default()).expect("a state"));
    let taken = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let address = taken.local_addr().expect("an address");
    let settings = Settings { listen: vec![address], name_servers: Vec::new() };
    let dns = Dns::start(&settings, state.clone()).expect("threads");
    wait("the problem to be told", || dns.show().listeners[0].problem.clone());
    drop(taken);
    wait("the problem to be over", || dns.show().listeners[0].problem.is_none().then_some(()));

    let name = "web-0000000000000001.elb.on-prem-1.leat.internal";
    assert_eq!(wait("an answer", || ask(address, 1, name)), (1, 3, 0), "there is no such name");
    let request = serde_json::json!({"name": "web", "nodes": [{"zone": "zone-a", "address": "10.1.0.10"}]});
    let request = serde_json::from_value(request).expect("a request");
    state.change(Command::CreateLoadBalancer { request, id: Id(1) }).expect("good");
    wait("the name", || ask(address, 2, name).filter(|answer| *answer == (2, 0, 0)));
    state.change(Command::Activate(vec![Id(1)])).expect("good");
    wait("the address", || ask(address, 3, name).filter(|answer| *answer == (3, 0, 1)));

    let mut stream = TcpStream::connect(address).expect("a connection");
    for id in 4..8 {
        let query = query(id, name);
        stream.write_all(&[&(query.len() as u16).to_be_bytes()[..], &query].concat()).expect("sent");
        let mut length = [0; 2];
        stream.read_exact(&mut length).expect("a length");
        let mut answer = vec![0; u16::from_be_bytes(length).into()];
        stream.read_exact(&mut answer).expect("an answer");
        assert_eq!((answer[1], answer[3] & 0xf, answer[7]), (id, 0, 1));
    }
    // What is no query ends the connection.
    stream.write_all(&[0, 3, 1, 2, 3]).expect("sent");
    assert_eq!(stream.read(&mut [0; 2]).expect("the end"), 0);

    state.change(Command::DeleteLoadBalancer { load_balancer: "web".into() }).expect("good");
    wait("the name to be gone", || ask(address, 9, name).filter(|answer| *answer == (9, 3, 0)));
    let shown = dns.show();
    assert!(shown.names.is_empty() && shown.counters.over_tcp == 5 && shown.counters.ignored == 1, "{shown:?}");
}
