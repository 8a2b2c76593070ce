//! The issuer's picture: PNG as it is, SVG as the shapes that it is made of.

use krilla::{
    color::rgb,
    geom::{PathBuilder, Size, Transform},
    image::Image,
    num::NormalizedF32,
    paint::{Fill, FillRule, Stroke},
    surface::Surface,
};
use usvg::{Node, Paint, tiny_skia_path::PathSegment};

use crate::{DocumentError, Logo, LogoKind};

const ACCEPTED: &str = "PNG, or SVG of shapes in plain colours (text made paths, no gradients)";

/// A picture that can be drawn.
pub(super) enum Drawn {
    Png(Image),
    Svg(Box<usvg::Tree>),
}

/// Reads a picture.
pub(super) fn read(logo: &Logo) -> Result<Drawn, DocumentError> {
    let refused = |problem: String| DocumentError::Logo { problem, accepted: ACCEPTED };
    match logo.kind {
        LogoKind::Png => {
            let image = Image::from_png(logo.bytes.clone().into(), true);
            image.map(Drawn::Png).map_err(refused)
        }
        LogoKind::Svg => {
            let text = String::from_utf8_lossy(&logo.bytes);
            if text.contains("<text") || text.contains("<image") {
                return Err(refused("it has text or images in it".to_owned()));
            }
            let tree = usvg::Tree::from_data(&logo.bytes, &usvg::Options::default());
            let tree = tree.map_err(|cause| refused(cause.to_string()))?;
            refuse_unplain(tree.root())?;
            Ok(Drawn::Svg(Box::new(tree)))
        }
    }
}

fn refuse_unplain(group: &usvg::Group) -> Result<(), DocumentError> {
    let refused =
        |problem: &str| DocumentError::Logo { problem: problem.to_owned(), accepted: ACCEPTED };
    if group.clip_path().is_some() || group.mask().is_some() || !group.filters().is_empty() {
        return Err(refused("it is clipped, masked or filtered"));
    }
    for node in group.children() {
        match node {
            Node::Group(group) => refuse_unplain(group)?,
            Node::Path(path) => {
                let fill = path.fill().map(usvg::Fill::paint);
                let stroke = path.stroke().map(usvg::Stroke::paint);
                if fill.into_iter().chain(stroke).any(|paint| !matches!(paint, Paint::Color(_))) {
                    return Err(refused("it has gradients or patterns"));
                }
            }
            Node::Image(_) | Node::Text(_) => return Err(refused("it has text or images in it")),
        }
    }
    Ok(())
}

impl Drawn {
    /// Width and height, in its own units.
    pub(super) fn size(&self) -> (f32, f32) {
        match self {
            Self::Png(image) => {
                let (width, height) = image.size();
                (px(width), px(height))
            }
            Self::Svg(tree) => (tree.size().width(), tree.size().height()),
        }
    }

    /// Draws it with its upper left corner at `x` and `y`.
    pub(super) fn draw(&self, surface: &mut Surface<'_>, (x, y): (f32, f32), width: f32) {
        let (own, height) = self.size();
        let scale = width / own.max(1.0);
        surface.push_transform(&Transform::from_translate(x, y));
        match self {
            Self::Png(image) => {
                if let Some(size) = Size::from_wh(width, height * scale) {
                    surface.draw_image(image.clone(), size);
                }
            }
            Self::Svg(tree) => {
                surface.push_transform(&Transform::from_scale(scale, scale));
                draw_group(surface, tree.root());
                surface.pop();
            }
        }
        surface.pop();
    }
}

/// Pixels of a picture; what is above 65,535 is cut, and no logo is.
fn px(pixels: u32) -> f32 {
    f32::from(u16::try_from(pixels).unwrap_or(u16::MAX))
}

fn draw_group(surface: &mut Surface<'_>, group: &usvg::Group) {
    for node in group.children() {
        match node {
            Node::Group(group) => draw_group(surface, group),
            Node::Path(path) if path.is_visible() => draw_path(surface, path),
            _ => {}
        }
    }
}

fn draw_path(surface: &mut Surface<'_>, path: &usvg::Path) {
    let mut builder = PathBuilder::new();
    for segment in path.data().segments() {
        match segment {
            PathSegment::MoveTo(p) => builder.move_to(p.x, p.y),
            PathSegment::LineTo(p) => builder.line_to(p.x, p.y),
            PathSegment::QuadTo(a, p) => builder.quad_to(a.x, a.y, p.x, p.y),
            PathSegment::CubicTo(a, b, p) => builder.cubic_to(a.x, a.y, b.x, b.y, p.x, p.y),
            PathSegment::Close => builder.close(),
        }
    }
    let Some(outline) = builder.finish() else { return };
    let opacity =
        |opacity: f32| NormalizedF32::new(opacity.clamp(0.0, 1.0)).unwrap_or(NormalizedF32::ONE);
    let colour = |paint: &Paint| match paint {
        Paint::Color(colour) => rgb::Color::new(colour.red, colour.green, colour.blue),
        _ => rgb::Color::black(),
    };
    surface.set_fill(path.fill().map(|fill| Fill {
        paint: colour(fill.paint()).into(),
        opacity: opacity(fill.opacity().get()),
        rule: match fill.rule() {
            usvg::FillRule::NonZero => FillRule::NonZero,
            usvg::FillRule::EvenOdd => FillRule::EvenOdd,
        },
    }));
    surface.set_stroke(path.stroke().map(|stroke| Stroke {
        paint: colour(stroke.paint()).into(),
        width: stroke.width().get(),
        opacity: opacity(stroke.opacity().get()),
        ..Stroke::default()
    }));
    let own = path.abs_transform();
    let own = Transform::from_row(own.sx, own.ky, own.kx, own.sy, own.tx, own.ty);
    surface.push_transform(&own);
    surface.draw_path(&outline);
    surface.pop();
    surface.set_stroke(None);
}
