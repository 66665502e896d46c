//! Dates for templates that write today's.

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

const WEEKDAYS: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];

/// Formats a time in UTC, given as seconds since 1970, by a pattern of C's `strftime`: `%Y %y %m %d
/// %e %j %B %b %A %a %H %I %M %S %p %%`. A `-` after the `%` omits padding.
///
/// # Errors
/// A directive that is not among these.
pub fn format(pattern: &str, seconds: u64) -> Result<String, String> {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    let (year, month, day, day_of_year) = date(days);
    let month_name = MONTHS[month as usize - 1];
    // 1 January 1970 was a Thursday
    let weekday = WEEKDAYS[(days as usize + 3) % 7];
    let mut text = String::new();
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            text.push(character);
            continue;
        }
        let mut directive = characters.next();
        let padded = directive != Some('-');
        if !padded {
            directive = characters.next();
        }
        let number = |value: u64, width: usize| match padded {
            true => format!("{value:0width$}"),
            false => value.to_string(),
        };
        let twelve = |hour: u64| (hour + 11) % 12 + 1;
        text += &match directive {
            Some('Y') => year.to_string(),
            Some('y') => number(year % 100, 2),
            Some('m') => number(month, 2),
            Some('d') => number(day, 2),
            Some('e') if padded => format!("{day:2}"),
            Some('e') => day.to_string(),
            Some('j') => number(day_of_year, 3),
            Some('H') => number(hour, 2),
            Some('I') => number(twelve(hour), 2),
            Some('M') => number(minute, 2),
            Some('S') => number(second % 60, 2),
            Some('p') => if hour < 12 { "AM" } else { "PM" }.to_owned(),
            Some('B') => month_name.to_owned(),
            Some('b') => month_name[..3].to_owned(),
            Some('A') => weekday.to_owned(),
            Some('a') => weekday[..3].to_owned(),
            Some('%') => "%".to_owned(),
            Some(other) => return Err(format!("the date format %{other} is not supported")),
            None => return Err("a date format ends with %".to_owned()),
        };
    }
    Ok(text)
}

/// Returns year, month, day and day of the year of a day counted from 1 January 1970.
fn date(mut days: u64) -> (u64, u64, u64, u64) {
    let leap =
        |year: u64| year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    // 400 years have 146,097 days
    let mut year = 1970 + days / 146_097 * 400;
    days %= 146_097;
    loop {
        let length = 365 + u64::from(leap(year));
        if days < length {
            break;
        }
        days -= length;
        year += 1;
    }
    let day_of_year = days + 1;
    let mut month = 1;
    loop {
        let length = match month {
            2 => 28 + u64::from(leap(year)),
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        if days < length {
            return (year, month, days + 1, day_of_year);
        }
        days -= length;
        month += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_python() {
        // datetime.fromtimestamp(seconds, UTC).strftime(pattern)
        for (seconds, pattern, want) in [
            (
                0,
                "%Y-%m-%d %A %H:%M:%S %j",
                "1970-01-01 Thursday 00:00:00 001",
            ),
            (
                951_827_696,
                "%d %b %Y %a %I:%M %p",
                "29 Feb 2000 Tue 12:34 PM",
            ),
            (
                1_735_689_599,
                "%e %B %y, day %j %H",
                "31 December 24, day 366 23",
            ),
            (4_107_542_400, "%-d.%-m.%Y %A", "1.3.2100 Monday"),
            (13_574_563_200, "%Y-%m-%d 100%%", "2400-02-29 100%"),
        ] {
            assert_eq!(format(pattern, seconds).unwrap(), want);
        }
        assert!(format("%Q", 0).unwrap_err().contains("%Q"));
        assert!(format("%", 0).is_err());
    }
}
