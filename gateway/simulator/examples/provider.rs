//! A simulated provider by itself: `cargo run -p permille-simulator --example provider`.
//! Arguments: the address to listen on (default 127.0.0.1:0), the file of its books (default none).

use std::{error::Error, io::Write, net::SocketAddr, path::PathBuf};

use permille_simulator::{Simulator, SimulatorConfig};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut config = SimulatorConfig::default();
    if let Some(listen) = arguments.next() {
        config.listen = listen.parse::<SocketAddr>()?;
    }
    config.books = arguments.next().map(PathBuf::from);
    let simulator = Simulator::bind(config)?;
    writeln!(std::io::stdout(), "http://{}", simulator.address())?;
    simulator.run(std::future::pending()).await?;
    Ok(())
}
