//! Lines over a logarithmic axis, as SVG.

use std::fmt::Write as _;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 190.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 50.0;
const COLOURS: [&str; 6] = ["#1b6ca8", "#c8553d", "#2e8b57", "#7a4fa3", "#b8860b", "#555555"];

/// Some lines with a title and two axes.
#[derive(Debug, Clone)]
pub struct Plot {
    /// The title above the picture.
    pub title: &'static str,
    /// The label of the logarithmic axis to the right, for values above 0.
    pub x: &'static str,
    /// The label of the axis upwards, from 0.
    pub y: &'static str,
    /// The lines: name and points, from left to right.
    pub lines: Vec<(String, Vec<(f64, f64)>)>,
}

impl Plot {
    /// The picture as SVG. None without a point.
    #[must_use]
    pub fn svg(&self) -> Option<String> {
        let axes = Axes::around(self.lines.iter().flat_map(|(_, points)| points))?;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
             font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
        );
        let mut text = |x: f64, y: f64, anchor: &str, text: &str| {
            let text = text.replace('&', "&amp;").replace('<', "&lt;");
            writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>")
        };
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        let mut shapes = String::new();
        text(LEFT, 16.0, "start", self.title).ok()?;
        text((LEFT + right) / 2.0, HEIGHT - 10.0, "middle", self.x).ok()?;
        text(8.0, TOP - 10.0, "start", self.y).ok()?;
        for x in axes.x_ticks() {
            text(axes.x(x), bottom + 18.0, "middle", &number(x)).ok()?;
            rule(&mut shapes, (axes.x(x), TOP), (axes.x(x), bottom)).ok()?;
        }
        for y in axes.y_ticks() {
            text(LEFT - 8.0, axes.y(y) + 4.0, "end", &number(y)).ok()?;
            rule(&mut shapes, (LEFT, axes.y(y)), (right, axes.y(y))).ok()?;
        }
        for (index, (name, points)) in self.lines.iter().enumerate() {
            let colour = COLOURS[index % COLOURS.len()];
            let row = TOP + 10.0 + 20.0 * index as f64;
            text(right + 34.0, row + 4.0, "start", name).ok()?;
            line(&mut shapes, colour, &[(right + 10.0, row), (right + 28.0, row)]).ok()?;
            let at: Vec<_> = points.iter().map(|&(x, y)| (axes.x(x), axes.y(y))).collect();
            line(&mut shapes, colour, &at).ok()?;
            if let [(x, y)] = at[..] {
                writeln!(shapes, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>").ok()?;
            }
        }
        Some(svg + &shapes + "</svg>\n")
    }
}

fn rule(svg: &mut String, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) -> std::fmt::Result {
    writeln!(svg, "<path d=\"M{x1:.1} {y1:.1}L{x2:.1} {y2:.1}\" stroke=\"#dddddd\"/>")
}

fn line(svg: &mut String, colour: &str, points: &[(f64, f64)]) -> std::fmt::Result {
    let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let points = points.join(" ");
    writeln!(svg, "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>")
}

/// The axes, which turn values into places. One has powers of ten at both ends, the other steps of one, two
/// or five.
struct Axes {
    decades: (i32, i32),
    step: f64,
    top: f64,
}

impl Axes {
    fn around<'a>(points: impl Iterator<Item = &'a (f64, f64)>) -> Option<Self> {
        let (mut low, mut high, mut top) = (f64::INFINITY, 0.0_f64, 0.0_f64);
        for &(x, y) in points {
            (low, high, top) = (low.min(x), high.max(x), top.max(y));
        }
        if !(low > 0.0 && high.is_finite() && top > 0.0) {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "the logarithm of a finite number is small")]
        let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
        let decade = 10_f64.powf((top / 5.0).log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|times| times * decade).into_iter().find(|s| s * 5.0 >= top)?;
        Some(Self { decades: (first, last.max(first + 1)), step, top: (top / step).ceil() * step })
    }

    fn x(&self, value: f64) -> f64 {
        let (first, last) = (f64::from(self.decades.0), f64::from(self.decades.1));
        LEFT + (value.log10() - first) / (last - first) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - value / self.top * (HEIGHT - TOP - BOTTOM)
    }

    fn x_ticks(&self) -> impl Iterator<Item = f64> {
        (self.decades.0..=self.decades.1).map(|decade| 10_f64.powi(decade))
    }

    fn y_ticks(&self) -> impl Iterator<Item = f64> {
        let step = self.step;
        (0..=5).map(move |nth| f64::from(nth) * step).filter(|&y| y <= self.top)
    }
}

/// The number `1000000` as `1,000,000`, and `0.1` as it is.
#[must_use]
pub fn number(value: f64) -> String {
    if value < 100.0 {
        return format!("{}", (value * 1000.0).round() / 1000.0);
    }
    let digits = format!("{value:.0}");
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(lines: Vec<(String, Vec<(f64, f64)>)>) -> Plot {
        Plot { title: "speed & size", x: "stored", y: "payments/s", lines }
    }

    #[test]
    fn a_plot_shows_its_lines_their_names_and_round_numbers() {
        let points = vec![(10_000.0, 2_000.0), (1_000_000.0, 1_800.0)];
        let svg =
            plot(vec![("drained".to_owned(), points), ("one".to_owned(), vec![(10_000.0, 50.0)])]).svg();
        let svg = svg.unwrap();

        for expected in
            ["speed &amp; size", ">drained<", ">10,000<", ">1,000,000<", ">2,000<", ">500<", "<circle"]
        {
            assert!(svg.contains(expected), "{expected} is missing:\n{svg}");
        }
        // The line goes from the lower left corner, where 10,000 stands, to the right edge.
        assert!(svg.contains("points=\"70.0,40.0 530.0,73.0\""), "{svg}");
    }

    #[test]
    fn without_a_point_there_is_no_plot() {
        assert_eq!(plot(vec![("none".to_owned(), Vec::new())]).svg(), None);
        assert_eq!(plot(vec![("nothing".to_owned(), vec![(1.0, 0.0)])]).svg(), None);
    }
}
