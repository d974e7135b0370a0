//! QUIC (RFC 9000) by quinn: how soon a server answers, and how much it hands out in a while. Datagrams begin at
//! 1200 bytes, which every path must carry, and become larger as far as the path lets them (RFC 8899).

use std::fmt::Display;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn::rustls::RootCertStore;
use quinn::rustls::pki_types::pem::PemObject;
use quinn::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use quinn::{
    ClientConfig, Connection, Endpoint, Incoming, RecvStream, ServerConfig, TransportConfig, VarInt,
};
use serde_json::json;
use tokio::runtime;
use tokio::time::timeout_at;

/// The two things that a server is asked for: one byte, or as much as it can send.
const ONE: u8 = b'1';
const MANY: u8 = b'*';

/// What is sent at first, while the rate is still growing, does not count.
const OMITTED: Duration = Duration::from_secs(1);

/// How long one that is silent is waited for. After quinn's own 30 s five packets in a row went unanswered, each twice as
/// late as the one before: a line that loses in bursts does that now and then, and is slow by it, not dead.
const PATIENCE_MS: u32 = 60_000;

static CHUNK: [u8; 64 << 10] = [0x55; 64 << 10];

/// Answers until it is ended.
pub(super) fn serve(address: &str, certificate: &str, key: &str) -> io::Result<()> {
    let chain = vec![read::<CertificateDer<'_>>(certificate)?];
    let key = read::<PrivateKeyDer<'_>>(key)?;
    let mut config = ServerConfig::with_single_cert(chain, key).map_err(io::Error::other)?;
    config.transport_config(patient());
    let address = parsed(address)?;
    within(async {
        let endpoint = Endpoint::server(config, address)?;
        println!("listening");
        while let Some(client) = endpoint.accept().await {
            tokio::spawn(answer(client));
        }
        Ok(())
    })
}

/// Serves one client until it has gone.
async fn answer(client: Incoming) -> io::Result<()> {
    let connection = client.await?;
    loop {
        let (mut to, mut from) = connection.accept_bi().await?;
        let mut asked = [0];
        from.read_exact(&mut asked).await.map_err(io::Error::other)?;
        if asked == [MANY] {
            // Until the client has had enough of it.
            while to.write_all(&CHUNK).await.is_ok() {}
        } else {
            to.write_all(&asked).await?;
            to.finish()?;
        }
    }
}

/// Connects so often, then takes as much as comes in so many seconds; prints what was seen.
pub(super) fn ask(
    address: &str,
    certificate: &str,
    connections: usize,
    seconds: f64,
) -> io::Result<()> {
    let mut trusted = RootCertStore::empty();
    trusted.add(read(certificate)?).map_err(io::Error::other)?;
    let mut config =
        ClientConfig::with_root_certificates(Arc::new(trusted)).map_err(io::Error::other)?;
    config.transport_config(patient());
    let server: SocketAddr = parsed(address)?;
    let any = if server.is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) };
    let told = within(async {
        let mut endpoint = Endpoint::client(SocketAddr::new(any, 0))?;
        endpoint.set_default_client_config(config);
        let (mut handshakes, mut first_bytes) = (Vec::new(), Vec::new());
        for _ in 0..connections {
            let start = Instant::now();
            let connection = connect(&endpoint, server).await?;
            handshakes.push(start.elapsed().as_micros() as u64);
            let mut answer = request(&connection, ONE).await?;
            answer.read_exact(&mut [0]).await.map_err(io::Error::other)?;
            first_bytes.push(start.elapsed().as_micros() as u64);
            connection.close(0u32.into(), b"");
        }
        let connection = connect(&endpoint, server).await?;
        let (bytes, counted) = take(request(&connection, MANY).await?, seconds).await?;
        let datagram = connection.stats().path.current_mtu;
        connection.close(0u32.into(), b"");
        Ok(json!({
            "handshakes_us": handshakes, "first_bytes_us": first_bytes, "bytes": bytes,
            "bits_per_second": 8.0 * counted as f64 / seconds, "datagram": datagram,
        }))
    })?;
    println!("{told}");
    Ok(())
}

fn patient() -> Arc<TransportConfig> {
    let mut transport = TransportConfig::default();
    transport.max_idle_timeout(Some(VarInt::from_u32(PATIENCE_MS).into()));
    Arc::new(transport)
}

async fn connect(endpoint: &Endpoint, server: SocketAddr) -> io::Result<Connection> {
    let name = server.ip().to_string();
    let connecting = endpoint.connect(server, &name).map_err(|why| named(&server, &why))?;
    connecting.await.map_err(|why| named(&server, &why))
}

async fn request(connection: &Connection, what: u8) -> io::Result<RecvStream> {
    let (mut to, from) = connection.open_bi().await?;
    to.write_all(&[what]).await?;
    Ok(from)
}

/// All bytes that came, and how many of them in the seconds that count.
async fn take(mut from: RecvStream, seconds: f64) -> io::Result<(u64, u64)> {
    let begin = Instant::now() + OMITTED;
    let end = (begin + Duration::from_secs_f64(seconds)).into();
    let (mut bytes, mut counted) = (0, 0);
    // None of it waits for what came before: it is counted, not read.
    while let Ok(chunk) = timeout_at(end, from.read_chunk(usize::MAX, false)).await {
        let Some(chunk) = chunk? else { break };
        let length = chunk.bytes.len() as u64;
        bytes += length;
        counted += if Instant::now() >= begin { length } else { 0 };
    }
    Ok((bytes, counted))
}

/// One thread: a member has one processor.
fn within<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

fn read<T: PemObject>(path: &str) -> io::Result<T> {
    let path = Path::new(path);
    T::from_pem_file(path).map_err(|why| named(&path.display(), &why))
}

fn parsed(address: &str) -> io::Result<SocketAddr> {
    address.parse().map_err(|why| named(&address, &why))
}

fn named(what: &dyn Display, why: &dyn Display) -> io::Error {
    io::Error::other(format!("{what}: {why}"))
}
