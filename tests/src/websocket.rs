//! WebSocket frames (RFC 6455 §5.2), for the scripted worker's side and the visitor's.

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// Text.
    Text = 1,
    /// Bytes.
    Binary = 2,
    /// The end.
    Close = 8,
    /// To be answered by a pong.
    Ping = 9,
    /// The answer.
    Pong = 10,
}

impl Opcode {
    /// From the low four bits of the first octet.
    pub fn from_bits(bits: u8) -> Option<Self> {
        [Self::Text, Self::Binary, Self::Close, Self::Ping, Self::Pong].into_iter().find(|code| *code as u8 == bits)
    }
}

/// One frame, whole in itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub opcode: Opcode,
    /// Unmasked.
    pub payload: Vec<u8>,
}

impl Frame {
    /// Its bytes, with FIN set.
    pub fn encode(&self, mask: Option<[u8; 4]>) -> Vec<u8> {
        let masked = if mask.is_some() { 0x80 } else { 0 };
        let mut bytes = vec![0x80 | self.opcode as u8];
        match self.payload.len() {
            short @ 0..=125 => bytes.push(masked | short as u8),
            middle @ 126..=0xffff => {
                bytes.push(masked | 126);
                bytes.extend_from_slice(&(middle as u16).to_be_bytes());
            }
            long => {
                bytes.push(masked | 127);
                bytes.extend_from_slice(&(long as u64).to_be_bytes());
            }
        }
        let mask = match mask {
            Some(mask) => {
                bytes.extend_from_slice(&mask);
                mask
            }
            None => [0; 4],
        };
        bytes.extend(self.payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
        bytes
    }

    /// Reads one frame, masked or not.
    pub fn read(reader: &mut impl std::io::Read) -> std::io::Result<Self> {
        let mut two = [0; 2];
        reader.read_exact(&mut two)?;
        let length = match two[1] & 0x7f {
            126 => {
                let mut length = [0; 2];
                reader.read_exact(&mut length)?;
                u64::from(u16::from_be_bytes(length))
            }
            127 => {
                let mut length = [0; 8];
                reader.read_exact(&mut length)?;
                u64::from_be_bytes(length)
            }
            short => u64::from(short),
        };
        let mut mask = [0; 4];
        if two[1] & 0x80 != 0 {
            reader.read_exact(&mut mask)?;
        }
        let opcode = Opcode::from_bits(two[0] & 0x0f).ok_or(std::io::ErrorKind::InvalidData)?;
        let mut payload = vec![0; usize::try_from(length).map_err(|_| std::io::ErrorKind::InvalidData)?];
        reader.read_exact(&mut payload)?;
        payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, key)| *byte ^= key);
        Ok(Self { opcode, payload })
    }
}

/// The value of `Sec-WebSocket-Accept` for a key (RFC 6455 §4.2.2).
pub fn accept(key: &str) -> String {
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
    base64(digest.as_ref())
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits = three.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for place in 0..4 {
            let index = (bits >> (18 - 6 * place)) & 0x3f;
            text.push(if place <= three.len() { ALPHABET[index as usize] as char } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standards_own_example() {
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn frames_of_every_length_come_back() {
        for length in [0, 5, 125, 126, 65_535, 65_536] {
            for mask in [None, Some([1, 2, 3, 4])] {
                let frame = Frame { opcode: Opcode::Binary, payload: vec![0xa5; length] };
                let read = Frame::read(&mut frame.encode(mask).as_slice()).expect("a frame");
                assert_eq!(read, frame);
            }
        }
    }
}
